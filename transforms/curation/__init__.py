"""Choosing what to keep of a scored corpus, and writing it as a manifest or as audio."""
