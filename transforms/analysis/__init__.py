"""Queries, summaries, figures and the report of an output."""
