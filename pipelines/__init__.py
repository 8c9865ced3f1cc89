"""Commands: one module for each job of `audiosieve`, with its options, `run` and `build_parser`. Folders hold shared code."""
