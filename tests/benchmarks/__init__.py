"""What `make bench` measures. No test: a machine's speed is no claim of the code's."""
