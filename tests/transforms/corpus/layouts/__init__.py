"""Tests of `transforms/corpus/layouts`."""
