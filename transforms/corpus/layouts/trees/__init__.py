"""Layouts of corpora whose transcripts lie in a tree of folders with the recordings."""
