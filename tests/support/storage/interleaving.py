"""Runs two attempts at the same work, one at a time, and switches between them at chosen operations on files.

Python reports each operation on a file to its audit hooks before it happens. There a thread waits for its turn.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

# Operations of Python that read, list or change files.
_EVENTS = {"open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.link", "os.mkdir", "os.rmdir"}
_current = threading.local()


class Attempt(threading.Thread):
    """Work in a thread of its own, which stops before each operation on a file below a folder.

    Attributes:
        operations: operations so far.
        error: error with which the work ended, if any.
    """

    def __init__(self, work: Callable[[], Any], root: str) -> None:
        super().__init__(daemon=True)
        self._work, self._root = work, root
        self._may_go, self._has_stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.operations: list[str] = []
        self.error: BaseException | None = None
        self.is_done = False

    def run(self) -> None:
        """Does the work."""
        self._may_go.acquire()
        _current.attempt = self
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 -- the test looks at it
            self.error = error
        finally:
            _current.attempt = None
            self.is_done = True
            self._has_stopped.release()

    def stop_at_file(self, event: str, path: Any) -> None:
        """Waits for the next turn, if the operation is on a file below the folder."""
        if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(self._root):
            self.wait_for_turn(f"{event} {os.fsdecode(path).removeprefix(self._root)}")

    def wait_for_turn(self, operation: str) -> None:
        """Waits for the next turn before an operation."""
        self._has_stopped.release()
        self._may_go.acquire()
        self.operations.append(operation)

    def advance(self, operations: float) -> None:
        """Lets it go on until it is about to do one more than so many operations, or is done."""
        if not self.is_alive() and not self.is_done:
            self.start()
            self._step()
        while not self.is_done and len(self.operations) < operations:
            self._step()

    def _step(self) -> None:
        self._may_go.release()
        assert self._has_stopped.acquire(timeout=60), f"blocked after {self.operations[-1:]}"


def current_attempt() -> Attempt | None:
    """Returns the attempt that this thread belongs to."""
    attempt: Attempt | None = getattr(_current, "attempt", None)
    return attempt


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _EVENTS and (attempt := current_attempt()) is not None:
        attempt.stop_at_file(event, arguments[0])


sys.addaudithook(_hook)


def interleave(one: Attempt, other: Attempt, first: float, then: float) -> None:
    """Runs one attempt up to an operation, the other up to an operation, the first to its end, and the other to its end."""
    one.advance(first)
    other.advance(then)
    one.advance(float("inf"))
    other.advance(float("inf"))
