"""Tests of dataflow/: what a cloud run needs, as far as a machine without a cloud can test it."""
