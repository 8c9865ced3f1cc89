"""The parts of `audiosieve score`: graph, runs, processes and progress."""
