"""Limits on the requests, bytes and frames in the service. A request over a limit is refused at once and does not wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class CapacityError(Exception):
    """The capacity is used up for now."""


class CapacityLimit:
    """A limit on an amount, such as requests or bytes. Only the thread of the event loop may use it.

    Attributes:
        size: largest amount.
        used: amount in use.
    """

    def __init__(self, size: int) -> None:
        self.size, self.used = size, 0

    def acquire(self, amount: int) -> None:
        """Takes an amount.

        Raises:
            CapacityError: the amount does not fit. Nothing is taken.
        """
        if self.used + amount > self.size:
            raise CapacityError
        self.used += amount

    def release(self, amount: int) -> None:
        """Returns an amount that was taken."""
        self.used -= amount

    @contextlib.contextmanager
    def acquired(self, amount: int) -> Iterator[None]:
        """Takes an amount for the length of a block.

        Raises:
            CapacityError: the amount does not fit. Nothing is taken.
        """
        self.acquire(amount)
        try:
            yield
        finally:
            self.release(amount)


class RequestShare:
    """The part of a capacity that the recordings of one request use.

    The recordings wait for each other but not for other requests. Without that, a form whose files fit one by one but not
    together would be refused on every attempt.

    Attributes:
        turn: lock for the wait for capacity, so that at most one recording of a request waits.
    """

    def __init__(self, capacity: CapacityLimit) -> None:
        self.turn = asyncio.Lock()
        self._capacity, self._used, self._released = capacity, 0, asyncio.Event()

    async def acquire(self, amount: int) -> None:
        """Takes an amount; waits for other recordings of the request if it does not fit beside them.

        Raises:
            CapacityError: the amount does not fit and the request holds nothing. Nothing is taken.
        """
        while self._used and self._capacity.used + amount > self._capacity.size:
            self._released.clear()
            await self._released.wait()
        self._capacity.acquire(amount)
        self._used += amount

    def release(self, amount: int) -> None:
        """Returns an amount that was taken."""
        self._capacity.release(amount)
        self._used -= amount
        self._released.set()
