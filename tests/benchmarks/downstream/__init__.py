"""Measures whether filtering a corpus helps a speech enhancer that is trained on it."""
