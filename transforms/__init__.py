"""Beam transforms, each thin around a plain function that holds its logic and runs without Beam.

What flows through the scoring pipeline is, in this order: an `AudioRef` (an utterance to score, nothing of it read
yet), a `FeaturizedUtterance` (its facts and spectrogram), a list of those (a batch), a `ScoredUtterance` (its facts
and frame scores), and rows of the output tables. At every step a `Reject` may leave instead.
"""

from transforms.storage import gcs as gcs
