"""Reads recordings: samples at 16 kHz and signal facts."""
