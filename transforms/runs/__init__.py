"""Runs: dividing a corpus into work, finding what earlier runs did, and committing finished work."""
