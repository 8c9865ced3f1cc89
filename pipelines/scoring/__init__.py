"""Parts of `audiosieve score`: the pipeline's graph, local and remote runs, processes and progress."""
