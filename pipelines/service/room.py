"""How much is inside at a time: what does not fit is turned away at once, and not kept waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class FullError(Exception):
    """There is no room left; later there may be."""


class Room:
    """Room for a number of things; used by the event loop's thread alone.

    Attributes:
        size: how much there is.
        used: how much of it is taken.
    """

    def __init__(self, size: int) -> None:
        self.size, self.used = size, 0

    def take(self, amount: int) -> None:
        """Takes some.

        Raises:
            FullError: so much is not left. Nothing is taken.
        """
        if self.used + amount > self.size:
            raise FullError
        self.used += amount

    def give_back(self, amount: int) -> None:
        """Gives back what was taken."""
        self.used -= amount

    @contextlib.contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Takes some for the length of a block, however it ends.

        Raises:
            FullError: so much is not left.
        """
        self.take(amount)
        try:
            yield
        finally:
            self.give_back(amount)
