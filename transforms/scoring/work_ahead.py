"""Computes items in a thread, ahead of their use."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


def work_ahead(items: Iterator[T], size: Callable[[T], int], limit: int) -> Generator[T]:
    """Yields items in order, while a thread computes the next ones.

    Without it, decoding and the network take turns in a process, although both spend most of their time outside the
    interpreter.

    Args:
        items: iterator that the thread alone uses.
        size: function that returns the size of an item.
        limit: total size of items from which on the thread waits. It computes one item at least.

    Raises:
        BaseException: the error that `items` raises, after the items before it.
    """
    ahead = _Ahead(items, size, limit)
    thread = threading.Thread(target=ahead.work, name="work-ahead", daemon=True)
    thread.start()
    try:
        yield from ahead.taken()
    finally:
        ahead.stop()
        thread.join()


class _Ahead(Generic[T]):
    """Items between the thread that computes them and the thread that uses them."""

    def __init__(self, items: Iterator[T], size: Callable[[T], int], limit: int) -> None:
        self._items, self._size, self._limit = items, size, limit
        self._ready: deque[T] = deque()
        self._total = 0
        self._error: BaseException | None = None
        self._is_done = self._is_stopped = False
        self._changed = threading.Condition()

    def work(self) -> None:
        """Computes all items, or those until `stop`."""
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as error:  # noqa: BLE001 -- `taken` raises it
            self._error = error
        with self._changed:
            self._is_done = True
            self._changed.notify_all()

    def _put(self, item: T) -> bool:
        """Adds an item, and waits while there are enough; returns whether another one is needed."""
        with self._changed:
            self._ready.append(item)
            self._total += self._size(item)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_stopped or self._total < self._limit)
            return not self._is_stopped

    def taken(self) -> Iterator[T]:
        """Yields the items. Raises the error of the thread after the last one."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._ready) or self._is_done)
                if not self._ready:
                    break
                item = self._ready.popleft()
                self._total -= self._size(item)
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ends `work` after its current item."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
