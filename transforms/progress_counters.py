"""Progress of a local run: each process counts its work in a small file, and the launcher adds them up."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import struct
import time
from pathlib import Path

_FORMAT = struct.Struct("<QQd")
WRITE_EVERY_S = 0.5


@dataclasses.dataclass(frozen=True)
class ProgressCounts:
    """Work that is done so far.

    Attributes:
        scored: number of scored utterances.
        rejected: number of rejected utterances.
        audio_s: seconds of scored audio.
    """

    scored: int = 0
    rejected: int = 0
    audio_s: float = 0.0

    def __add__(self, other: ProgressCounts) -> ProgressCounts:
        return ProgressCounts(self.scored + other.scored, self.rejected + other.rejected, self.audio_s + other.audio_s)


class ProgressCounter:
    """Counts the work of this process in a file; `progress_counter` returns the one of this process.

    Args:
        folder: local folder of the run's counters; None on a cluster, where nothing reads them.
    """

    def __init__(self, folder: str | None) -> None:
        self._path = Path(folder, str(os.getpid())) if folder else None
        self._done = ProgressCounts()
        self._last_write = time.monotonic()

    def add(self, scored: int = 0, rejected: int = 0, audio_s: float = 0.0) -> None:
        """Adds to the counts, and writes them every half second."""
        if self._path is None:
            return
        self._done += ProgressCounts(scored, rejected, audio_s)
        if time.monotonic() - self._last_write >= WRITE_EVERY_S:
            self._last_write = time.monotonic()
            with contextlib.suppress(OSError):  # a run goes on without its progress
                self._path.write_bytes(_FORMAT.pack(*dataclasses.astuple(self._done)))


@functools.cache
def progress_counter(folder: str | None) -> ProgressCounter:
    """Returns the counter of this process."""
    return ProgressCounter(folder)


def read_counters(folder: str) -> ProgressCounts:
    """Returns the sum of the counters of all processes, up to half a second old."""
    total = ProgressCounts()
    for path in Path(folder).iterdir():
        data = path.read_bytes()
        if len(data) == _FORMAT.size:
            total += ProgressCounts(*_FORMAT.unpack(data))
    return total
