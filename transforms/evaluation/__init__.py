"""Labelled clips: reading, scoring, evaluation tables and the published experiment."""
