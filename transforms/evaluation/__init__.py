"""Labelled clips: reading, scoring, tables of an evaluation, and the published experiment."""
