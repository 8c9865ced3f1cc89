"""Measures the signal facts of an utterance in one pass and in bounded memory."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.fft

from transforms.audio.frame_extremes import FrameExtremes
from transforms.audio.signal_facts import FLOOR_DB, facts_of
from transforms.elements import FrameFacts, SignalFacts

PLATEAU_RUN = 3
BANDWIDTH_BELOW_DB = 60.0
WINDOW_S = 0.032


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Everything that is measured about an utterance without a model.

    Attributes:
        facts: facts of the utterance.
        frame_facts: measurements of each frame.
        marks: flags that the samples of the whole utterance decide.
    """

    facts: SignalFacts
    frame_facts: FrameFacts
    marks: tuple[str, ...]

    def with_marks(self, marks: tuple[str, ...]) -> Measured:
        """Returns the same measurements with further marks."""
        return dataclasses.replace(self, marks=(*self.marks, *marks))


class FactsMeter:
    """Measures the scored channels of an utterance block by block, at the recording's own rate.

    Args:
        sample_rate: sampling rate of the recording in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._count = 0
        self._sum = 0.0
        self._extremes = FrameExtremes(sample_rate)
        self._high = _Plateau()
        self._low = _Plateau()
        self._window = np.hanning(max(2, round(sample_rate * WINDOW_S))).astype(np.float32)
        self._spectrum = np.zeros(len(self._window) // 2 + 1)

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        if not block.size:
            return
        self._count += block.size
        self._sum += float(block.sum(dtype=np.float64))
        self._extremes.add(block)
        high, low = block.max(), block.min()
        self._high.add(block, high, float(high))
        self._low.add(block, low, float(-low))
        mono = block.mean(axis=1) if block.shape[1] > 1 else block[:, 0]
        size = len(self._window)
        windows = mono[: len(mono) // size * size].reshape(-1, size)
        if not len(windows):
            windows = np.pad(mono, (0, size - len(mono)))[np.newaxis]
        self._spectrum += np.square(np.abs(scipy.fft.rfft(windows * self._window, axis=-1))).sum(axis=0)

    @property
    def constant(self) -> bool:
        """Whether all samples are equal, before resampling, which adds ripples at the ends of a constant."""
        return self._high.value == -self._low.value

    def measure(self, power: np.ndarray) -> Measured:
        """Returns all measurements.

        Args:
            power: mean square of each frame of the scored signal, mono at 16 kHz without DC offset: float64 [T].
        """
        dc_offset = self._sum / max(self._count, 1)
        high, low = self._extremes.frames(len(power))
        strong = np.flatnonzero(self._spectrum > self._spectrum.max() * 10 ** (-BANDWIDTH_BELOW_DB / 10))
        bandwidth = float(strong[-1] * self._rate / len(self._window)) if len(strong) else 0.0
        plateaus = self._high.count + self._low.count
        ratio = plateaus / max(self._count, 1)
        clipped = np.zeros(len(power), bool)
        if ratio:
            clipped = (high >= self._high.value) | (low <= -self._low.value)
        frame_facts = FrameFacts(
            level_dbfs=_decibels(np.sqrt(power)),
            peak_dbfs=_decibels(np.maximum(high - dc_offset, dc_offset - low)),
            bandwidth_hz=np.full(len(power), bandwidth, np.float32),
            clipped=clipped,
            dropout_s=np.zeros(len(power), np.float32),
        )
        facts = facts_of(
            frame_facts,
            dc_offset=dc_offset,
            hum_db=None,
            clipped_per_frame=ratio / max(float(clipped.mean()), 1e-12),
        )
        return Measured(facts, frame_facts, ())


def _decibels(amplitude: np.ndarray) -> np.ndarray:
    """Returns amplitudes in dB, to 0.1 dB, which keeps the table `frames` small: float32 [T]."""
    return np.round(20 * np.log10(np.maximum(amplitude, 10 ** (FLOOR_DB / 20))), 1).astype(np.float32)


class _Plateau:
    """The extreme sample on one side so far, and the runs of samples at exactly that value.

    Attributes:
        value: distance of the extreme sample from 0, on its side.
        count: number of samples in runs of at least 3.
    """

    def __init__(self) -> None:
        self.value = -math.inf
        self.count = 0

    def add(self, block: np.ndarray, sample: np.float32, value: float) -> None:
        """Adds a block. A run across two blocks counts as two.

        Args:
            block: samples: float32 [n, channels].
            sample: extreme sample of the block.
            value: its distance from 0, on its side.
        """
        if value < self.value:
            return
        if value > self.value:
            self.value, self.count = value, 0
        for channel in block.T:
            positions = np.flatnonzero(channel == sample)
            if len(positions) >= PLATEAU_RUN:
                starts = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
                runs = np.diff(starts, append=len(positions))
                self.count += int(runs[runs >= PLATEAU_RUN].sum())
