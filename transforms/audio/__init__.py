"""From the bytes of a recording to its samples and signal facts."""
