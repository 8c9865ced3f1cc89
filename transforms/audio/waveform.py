"""Decoded samples, in memory for short recordings and on disk for long ones."""

from __future__ import annotations

import tempfile
from typing import BinaryIO

import numpy as np

from model.features import FRAME_SHIFT, SAMPLE_RATE, frame_power

# Ten minutes: 38 MB. Longer recordings are in an unnamed temporary file, which the system deletes when the process ends.
MEMORY_SAMPLES = 600 * SAMPLE_RATE
_BYTES = np.dtype(np.float32).itemsize


class ScratchError(RuntimeError):
    """The temporary file of a long recording cannot be written.

    It is not an OSError, because callers take an OSError for a fault of the recording's file.
    """


class Waveform:
    """Mono samples at 16 kHz, added block by block, with the power of their frames.

    Attributes:
        lowest: smallest sample; inf without samples.
        highest: largest sample; -inf without samples.
    """

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._file: BinaryIO | None = None
        self._length = 0
        self._powers: list[np.ndarray] = []
        # Last samples, from the start of the next frame.
        self._rest = np.empty(0, np.float32)
        self.lowest, self.highest = np.inf, -np.inf

    def add(self, samples: np.ndarray) -> None:
        """Adds the next samples: float32 [n].

        Raises:
            ScratchError: the samples exceed the memory limit, and the temporary file cannot be written.
        """
        if not len(samples):
            return
        self.lowest, self.highest = min(self.lowest, samples.min()), max(self.highest, samples.max())
        tail = np.concatenate([self._rest, samples])
        power = frame_power(tail)
        self._powers.append(power)
        self._rest = tail[len(power) * FRAME_SHIFT :].copy()  # a view would keep all of `tail` in memory
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
    def power(self) -> np.ndarray:
        """Mean square of each frame: float64 [T]."""
        return np.concatenate(self._powers) if self._powers else np.empty(0)

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
