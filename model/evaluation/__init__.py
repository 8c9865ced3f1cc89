"""Measures of the accuracy of a model, with their tables and figures."""
