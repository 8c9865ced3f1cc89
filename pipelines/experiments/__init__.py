"""Parts of the commands about training sets and experiments: synthesis, evaluation and reproduction."""
