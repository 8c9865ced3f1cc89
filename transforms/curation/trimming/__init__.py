"""Cuts bad stretches out of utterances, and divides long utterances into segments."""
