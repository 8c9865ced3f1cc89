"""From spectrograms or waveforms to frame scores."""
