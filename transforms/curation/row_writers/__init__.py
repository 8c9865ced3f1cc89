"""Writes the rows of the corpus's own manifests back, for the utterances that a filter keeps."""
