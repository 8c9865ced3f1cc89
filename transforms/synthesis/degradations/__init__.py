"""Degradations of clean speech, as they occur in real corpora."""
