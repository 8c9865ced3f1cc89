"""How much is inside at a time: what does not fit is turned away at once, and not kept waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class CapacityError(Exception):
    """There is no room left; later there may be."""


class CapacityLimit:
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
            raise CapacityError
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


class Share:
    """What the recordings of one request take of a room: they wait for each other, but for nobody else.

    Without that, what is within all limits but does not fit in at once would be turned away however often it comes.

    Attributes:
        turn: held by the one that asks for room, so that no more than one of them waits.
    """

    def __init__(self, room: CapacityLimit) -> None:
        self.turn = asyncio.Lock()
        self._room, self._used, self._freed = room, 0, asyncio.Event()

    async def take(self, amount: int) -> None:
        """Takes some, if need be once others of the same request are done.

        Raises:
            FullError: so much is not left, and the request has nothing of it. Nothing is taken.
        """
        while self._used and self._room.used + amount > self._room.size:
            self._freed.clear()
            await self._freed.wait()
        self._room.take(amount)
        self._used += amount

    def give_back(self, amount: int) -> None:
        """Gives back what was taken."""
        self._room.give_back(amount)
        self._used -= amount
        self._freed.set()
