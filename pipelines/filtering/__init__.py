"""The parts of `audiosieve filter`."""
