"""How far a local run is: what its processes have done so far, read while they work."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import struct
import time
from pathlib import Path

_FORMAT = struct.Struct("<QQd")
_EVERY_S = 0.5


@dataclasses.dataclass(frozen=True)
class ProgressCounts:
    """What is done.

    Attributes:
        scored: utterances.
        rejected: utterances.
        audio_s: seconds of audio scored.
    """

    scored: int = 0
    rejected: int = 0
    audio_s: float = 0.0

    def __add__(self, other: ProgressCounts) -> ProgressCounts:
        return ProgressCounts(self.scored + other.scored, self.rejected + other.rejected, self.audio_s + other.audio_s)


class ProgressCounter:
    """Counts the work of this process in a small file that others read; `progress_counter` returns it.

    Args:
        folder: of the run, on this machine; None where nobody looks, as on a cluster.
    """

    def __init__(self, folder: str | None) -> None:
        self._path = Path(folder, str(os.getpid())) if folder else None
        self._done = ProgressCounts()
        self._wrote = time.monotonic()

    def add(self, scored: int = 0, rejected: int = 0, audio_s: float = 0.0) -> None:
        """So much more is done."""
        if self._path is None:
            return
        self._done += ProgressCounts(scored, rejected, audio_s)
        if time.monotonic() - self._wrote >= _EVERY_S:
            self._wrote = time.monotonic()
            with contextlib.suppress(OSError):  # a counter that cannot be shown ends no run
                self._path.write_bytes(_FORMAT.pack(*dataclasses.astuple(self._done)))


@functools.cache
def progress_counter(folder: str | None) -> ProgressCounter:
    """The tally of this process."""
    return ProgressCounter(folder)


def read_counters(folder: str) -> ProgressCounts:
    """What all processes of a run have done, half a second ago or so."""
    total = ProgressCounts()
    for path in Path(folder).iterdir():
        data = path.read_bytes()
        if len(data) == _FORMAT.size:
            total += ProgressCounts(*_FORMAT.unpack(data))
    return total
