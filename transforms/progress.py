"""Progress lines on stderr for long work."""

from __future__ import annotations

import sys
import time

EVERY_S = 30.0


class Progress:
    """Counts finished items and prints the count every 30 s.

    Args:
        text: words after the count, such as "clips are scored".
        total: number of all items; None if it is unknown.
    """

    def __init__(self, text: str, total: int | None = None) -> None:
        self._text = text
        self._total = total
        self._count = 0
        self._last_line = time.monotonic()

    def add(self, count: int = 1) -> None:
        """Adds finished items."""
        self._count += count
        if time.monotonic() - self._last_line >= EVERY_S:
            self._last_line = time.monotonic()
            of_total = "" if self._total is None else f" of {self._total}"
            print(f"{self._count}{of_total} {self._text}", file=sys.stderr, flush=True)
