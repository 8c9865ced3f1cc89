"""Degradation by a low sampling rate, and by a poor conversion to 16 kHz that leaves images above the band."""

from __future__ import annotations

import dataclasses
import enum
from typing import ClassVar

import numpy as np
import soxr

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import Degraded, HeardCause, whole

# Samples at the low rate on either side that a short filter uses.
FILTER_REACH = 2


class Interpolation(enum.StrEnum):
    """A poor way to raise a sampling rate."""

    HOLD = "held"
    LINEAR = "linear"
    SHORT_FILTER = "short filter"


@dataclasses.dataclass(frozen=True, slots=True)
class Upsampled:
    """A recording at a low sampling rate, raised to 16 kHz by a poor interpolation.

    Attributes:
        sample_rate: the low rate in Hz, under 16 kHz.
        interpolation: how the rate is raised.
        aliased: whether the rate was lowered without a filter, so that high frequencies are folded into the band.
    """

    KIND: ClassVar[str] = "upsampled"
    sample_rate: int
    interpolation: Interpolation
    aliased: bool

    @property
    def detail(self) -> str:
        """Rate and interpolation."""
        return f"{self.sample_rate} Hz, {self.interpolation}{', aliased' if self.aliased else ''}"

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """A narrow band; the images sound harsh."""
        return (HeardCause("band_limit"),)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Lowers and raises the sampling rate."""
        samples = samples.astype(np.float32, copy=False)
        step = self.sample_rate / SAMPLE_RATE
        if self.aliased:
            count = round(len(samples) * step)
            narrow = _at(samples, np.arange(count) / step, Interpolation.LINEAR)
        else:
            narrow = soxr.resample(samples, SAMPLE_RATE, self.sample_rate)
        return Degraded(_at(narrow, np.arange(len(samples)) * step, self.interpolation), whole(samples))


def _at(samples: np.ndarray, positions: np.ndarray, interpolation: Interpolation) -> np.ndarray:
    """Interpolates samples [n] at positions [m] in samples: float32 [m]. The last sample is held after the end."""
    if not len(samples):
        return np.zeros(len(positions), np.float32)
    if interpolation is Interpolation.LINEAR:
        return np.interp(positions, np.arange(len(samples)), samples).astype(np.float32)
    if interpolation is Interpolation.HOLD:
        return samples[np.minimum(np.floor(positions + 0.5).astype(np.int64), len(samples) - 1)]
    whole_part = np.floor(positions).astype(np.int64)
    fraction = positions - whole_part
    result = np.zeros(len(positions))
    for tap in range(1 - FILTER_REACH, FILTER_REACH + 1):
        # A sinc under a Hann window.
        distance = tap - fraction
        weight = np.sinc(distance) * np.cos(np.pi * distance / (2 * FILTER_REACH)) ** 2
        result += weight * samples[np.clip(whole_part + tap, 0, len(samples) - 1)]
    return result.astype(np.float32)
