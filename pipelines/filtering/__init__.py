"""Parts of `audiosieve filter`."""
