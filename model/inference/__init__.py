"""Computes frame scores from spectrograms or waveforms."""
