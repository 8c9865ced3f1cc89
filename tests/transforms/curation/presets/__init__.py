"""Tests of presets and of rules without data."""
