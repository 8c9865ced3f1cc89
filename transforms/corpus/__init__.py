"""Corpus formats: folders, manifests, data directories and archives become the utterances to score."""
