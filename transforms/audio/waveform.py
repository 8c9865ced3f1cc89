"""Decoded samples, in memory for short recordings and on disk for long ones."""

from __future__ import annotations

import functools
import tempfile
from typing import BinaryIO

import numpy as np

from model.features import (
    FRAME_LENGTH,
    FRAME_SHIFT,
    SAMPLE_RATE,
    WHOLE_FRAMES,
    fold,
    frame_power,
    grid_offset,
    num_frames,
)
from model.high_pass import HighPass

# Ten minutes: 38 MB. Longer recordings are in an unnamed temporary file, which the system deletes when the process ends.
MEMORY_SAMPLES = 600 * SAMPLE_RATE
_BYTES = np.dtype(np.float32).itemsize


class ScratchError(RuntimeError):
    """The temporary file of a long recording cannot be written.

    It is not an OSError, because callers take an OSError for a fault of the recording's file.
    """


class Waveform:
    """Mono samples at 16 kHz without DC offset, added block by block.

    Args:
        keep_dc: whether to keep the DC offset.

    Attributes:
        lowest: smallest sample; inf without samples.
        highest: largest sample; -inf without samples.
    """

    def __init__(self, keep_dc: bool = False) -> None:
        self._parts: list[np.ndarray] = []
        self._file: BinaryIO | None = None
        self._length = 0
        self._high_pass = None if keep_dc else HighPass()
        self._folded = np.zeros(FRAME_SHIFT)
        self._grid_offset: int | None = None
        self._power: np.ndarray | None = None
        self.lowest, self.highest = np.inf, -np.inf

    def add(self, samples: np.ndarray) -> None:
        """Adds the next samples without their DC offset: float32 [n].

        Raises:
            ScratchError: the samples exceed the memory limit, and the temporary file cannot be written.
        """
        self._keep(self._high_pass.filter(samples) if self._high_pass else samples)

    def end(self) -> None:
        """Ends the waveform. Call it after the last samples, before anything else.

        Raises:
            ScratchError: the temporary file cannot be written.
        """
        if self._high_pass:
            self._keep(self._high_pass.end())

    def _keep(self, samples: np.ndarray) -> None:
        if not len(samples):
            return
        self.lowest, self.highest = min(self.lowest, samples.min()), max(self.highest, samples.max())
        self._folded += fold(samples, self._length)
        self._length += len(samples)
        if self._length <= MEMORY_SAMPLES:
            self._parts.append(samples)
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- open as long as the waveform exists
            for part in (*self._parts, samples):
                self._file.write(np.ascontiguousarray(part, np.float32).tobytes())
        except OSError as error:
            raise ScratchError(
                f"a recording of over {MEMORY_SAMPLES // SAMPLE_RATE // 60} minutes needs a temporary file, and writing to "
                f"{tempfile.gettempdir()} failed: {error}; set TMPDIR to another folder"
            ) from error
        self._parts = []

    def __len__(self) -> int:
        return self._length

    @property
    def grid_offset(self) -> int:
        """Offset of the frames in samples (`features.grid_offset`). Read it after `end`; it is computed once."""
        if self._grid_offset is None:
            self._grid_offset = grid_offset(self._folded)
        return self._grid_offset

    def power(self) -> np.ndarray:
        """Returns the mean square of each frame: float64 [T]. Call it after `end`; it is computed once."""
        if self._power is None:
            self._power = self._frame_power()
        return self._power

    def _frame_power(self) -> np.ndarray:
        count = num_frames(self._length)
        return np.concatenate(
            [np.empty(0)]
            + [
                frame_power(self.read_frames(first, min(first + WHOLE_FRAMES, count)))
                for first in range(0, count, WHOLE_FRAMES)
            ]
        )

    def read_frames(self, first: int, end: int) -> np.ndarray:
        """Returns the samples of the frames [first, end), with zeros beyond the ends of the recording: float32 [n]."""
        start = first * FRAME_SHIFT + self.grid_offset
        stop = start + (end - first - 1) * FRAME_SHIFT + FRAME_LENGTH
        samples = self.read(max(start, 0), stop)
        before, after = max(-start, 0), max(stop - self._length, 0)
        return np.concatenate([np.zeros(before, np.float32), samples, np.zeros(after, np.float32)])

    def read(self, start: int = 0, end: int | None = None) -> np.ndarray:
        """Returns the samples [start, end), all by default: float32 [n]."""
        end = self._length if end is None else min(end, self._length)
        start = min(start, end)
        if self._file is None:
            if len(self._parts) != 1:
                self._parts = [np.concatenate(self._parts or [np.empty(0, np.float32)])]
            return self._parts[0][start:end]
        self._file.seek(start * _BYTES)
        return np.frombuffer(self._file.read((end - start) * _BYTES), np.float32)


def mean_of_channels(block: np.ndarray) -> np.ndarray:
    """Returns the mean of the channels: float32 [n]; a view of the samples if there is one channel.

    Sums of whole channels take a tenth of the time of `mean`, which numpy computes sample by sample along a short axis.

    Args:
        block: samples: float32 [n, channels].
    """
    channels = block.T
    return channels[0] if len(channels) == 1 else functools.reduce(np.add, channels) / np.float32(len(channels))
