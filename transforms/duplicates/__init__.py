"""Finds recordings that are in a corpus more than once: hashes of samples, acoustic fingerprints, groups."""
