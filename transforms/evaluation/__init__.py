"""Labelled clips, scored and measured."""
