"""Measures the largest and the smallest sample of each frame, at the recording's own rate."""

from __future__ import annotations

import functools

import numpy as np

from model.features import FRAME_SHIFT, SAMPLE_RATE


class FrameExtremes:
    """Collects the extremes of samples by shifts of 16 ms, block by block. A frame covers two shifts.

    Args:
        rate: sampling rate of the recording in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._shift = rate * FRAME_SHIFT / SAMPLE_RATE
        self._position = 0
        self._highs: list[np.ndarray] = []
        self._lows: list[np.ndarray] = []

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        if not len(block):
            return
        start, end = self._position, self._position + len(block)
        self._position = end
        first, last = int(start / self._shift), int(np.ceil(end / self._shift))
        starts = np.ceil(np.arange(first, last) * self._shift).astype(np.int64) - start
        starts[0] = 0
        starts = starts[starts < len(block)]
        # `max` and `min` along the short axis of the channels would take 30 times as long.
        highest, lowest = functools.reduce(np.maximum, block.T), functools.reduce(np.minimum, block.T)
        highs, lows = np.maximum.reduceat(highest, starts), np.minimum.reduceat(lowest, starts)
        # A shift that began in the block before continues in this one.
        if self._highs and np.ceil(first * self._shift) < start:
            self._highs[-1][-1] = max(self._highs[-1][-1], highs[0])
            self._lows[-1][-1] = min(self._lows[-1][-1], lows[0])
            highs, lows = highs[1:], lows[1:]
        if len(highs):
            self._highs.append(highs)
            self._lows.append(lows)

    def frames(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the largest and the smallest sample of each of `count` frames: float32 [T] each.

        The last frame has the samples after it, too, so that the extremes are those of all samples.
        """
        return _of_frames(self._highs, np.maximum, count), _of_frames(self._lows, np.minimum, count)


def _of_frames(parts: list[np.ndarray], extreme: np.ufunc, count: int) -> np.ndarray:
    values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    # Rounding of the resampler can leave the last frame without its second shift.
    if len(values) <= count:
        values = np.concatenate([values, np.full(count + 1 - len(values), values[-1] if len(values) else 0.0)])
    of_frames = np.asarray(extreme(values[:count], values[1 : count + 1]), np.float32)
    of_frames[-1:] = extreme.reduce(values[count - 1 :])
    return of_frames
