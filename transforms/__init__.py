"""Beam transforms. Each is a thin wrapper of a plain function that contains the logic and runs without Beam.

The elements of the scoring pipeline are, in this order: a `Recording` with its utterances (`AudioRef`), a
`FeaturizedUtterance` (measurements and spectrogram), a batch of those (a list), a `ScoredUtterance` (measurements and
frame scores), and rows of the output tables. Every step may output a `Reject` instead.
"""
