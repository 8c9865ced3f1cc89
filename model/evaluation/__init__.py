"""Measures of how far a model can be trusted, and their tables and figures."""
