"""Rules for a purpose, and the rules that an output has no data for."""
