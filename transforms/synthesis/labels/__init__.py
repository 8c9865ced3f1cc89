"""Labels and ratings of clips."""
