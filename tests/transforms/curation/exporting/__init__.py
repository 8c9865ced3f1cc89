"""Tests of the writers of rows of the corpus."""
