"""Tests of `transforms.corpus.layouts.trees`."""
