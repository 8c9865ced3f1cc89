"""Cuts anomalies out of utterances."""
