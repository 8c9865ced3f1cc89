"""Network architectures, attention and losses."""
