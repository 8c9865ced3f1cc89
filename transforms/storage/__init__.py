"""Files in any filesystem that Beam knows: listing, reading, atomic writes, Cloud Storage."""
