"""Files in any filesystem that Beam knows: listing, reading, writing whole or not at all, Cloud Storage."""
