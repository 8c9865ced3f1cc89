"""The steps of the scoring pipeline, from decoded samples to rows."""
