"""Training a network and saving the best bundle."""
