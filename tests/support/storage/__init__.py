"""Cloud Storage and buckets on this machine."""
