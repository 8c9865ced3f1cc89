"""Clusters, staged jobs, the image and gcloud."""
