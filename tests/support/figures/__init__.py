"""What tests of figures need."""
