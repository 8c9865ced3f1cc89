"""Training clips: clean speech, noise and degradations, with PESQ labels."""
