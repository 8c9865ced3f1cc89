"""Decoders of recordings, libsndfile and FFmpeg, behind one interface."""
