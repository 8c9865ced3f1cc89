"""Cloud Storage: listing, conditional writes, and Beam's plug-in."""
