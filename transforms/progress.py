"""A line on stderr now and then, so that long work is seen to go on."""

from __future__ import annotations

import sys
import time

EVERY_S = 30.0


class Progress:
    """Counts what is done, and says so every 30 s.

    Args:
        done: what is said after the number, as "clips are scored".
        total: how many there are in all; None where that is not known here.
    """

    def __init__(self, done: str, total: int | None = None) -> None:
        self._done = done
        self._total = total
        self._count = 0
        self._spoke = time.monotonic()

    def add(self, count: int = 1) -> None:
        """So many more are done."""
        self._count += count
        if time.monotonic() - self._spoke >= EVERY_S:
            self._spoke = time.monotonic()
            of = "" if self._total is None else f" of {self._total}"
            print(f"{self._count}{of} {self._done}", file=sys.stderr, flush=True)
