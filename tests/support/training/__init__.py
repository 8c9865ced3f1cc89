"""Material, training sets and bundles."""
