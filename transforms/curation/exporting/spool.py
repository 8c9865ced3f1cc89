"""Decoded samples on their way into a file: in memory if they are few, else in a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np

# Longer signals are in a temporary file.
_IN_MEMORY_BYTES = 64 << 20
_BLOCK_SAMPLES = 1 << 18


class Spool:
    """Samples that are written once and read several times. Use it in a `with` block.

    Args:
        channels: number of channels.
        dtype: numpy type of the samples.

    Attributes:
        length: samples per channel.
    """

    def __init__(self, channels: int, dtype: str = "float32") -> None:
        self._channels, self._dtype = channels, np.dtype(dtype)
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 -- closed by __exit__
        self.length = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, samples: np.ndarray) -> None:
        """Adds samples: [n, channels]."""
        self._file.write(np.ascontiguousarray(samples, self._dtype).tobytes())
        self.length += len(samples)

    def read(self, start: int, length: int) -> np.ndarray:
        """Returns samples from an index on: [at most `length`, channels]."""
        width = self._channels * self._dtype.itemsize
        self._file.seek(start * width)
        return np.frombuffer(self._file.read(length * width), self._dtype).reshape(-1, self._channels)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields all samples in blocks: [n, channels]."""
        for start in range(0, self.length, _BLOCK_SAMPLES):
            yield self.read(start, _BLOCK_SAMPLES)

    def peak(self) -> float:
        """Returns the largest absolute sample; 0 without samples."""
        return max((float(np.abs(block).max()) for block in self.blocks()), default=0.0)
