"""Recordings in tars, and in Parquet and Arrow files."""
