"""Compares the channels of a recording, and decides whether their mean or one of them is scored.

The mean of two channels loses the speech if one is inverted, and gets a comb filter if one is late. Noise in one channel spoils
the mean.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.fft

from model.features import gated_level
from transforms.marks import ANTIPHASE, DEAD, DELAYED, UNLIKE

# A channel this far below the loudest one carries nothing.
DEAD_BELOW_DB = 40.0
# Channels with a lower correlation at every delay carry different sounds.
LEAST_CORRELATION = 0.4
# Longest delay that is searched, and the shortest one that matters: it puts the first zero of the comb filter at 5 kHz.
MAX_DELAY_S, LEAST_DELAY_S = 0.02, 1e-4
# Difference of the distance from speech to noise from which on a channel is better.
BETTER_DB = 3.0
# Length of the windows for the levels and for the correlation. One of `STRIDE` windows is correlated, which is
# enough.
LEVEL_S, CORRELATION_S, STRIDE = 0.032, 0.25, 6
# Largest number of channels that are scored to find the best one.
MAX_CANDIDATES = 4


@dataclasses.dataclass(frozen=True)
class ChannelChoice:
    """The channels to score, and the reason.

    Attributes:
        candidates: channels of which the one with the best score counts, from 0; empty for the mean of all channels.
        flags: `ANTIPHASE`, `DELAYED`, `DEAD` and `UNLIKE`, as far as they hold.
    """

    candidates: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()


class ChannelMeter:
    """Measures levels, correlations and delays of the channels of a recording, block by block.

    Args:
        rate: sampling rate in Hz.
        channels: number of channels, at least 2.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._rate, self._channels = rate, channels
        self._level_length = max(1, round(LEVEL_S * rate))
        self._length = max(1, round(CORRELATION_S * rate))
        self._max_delay = min(round(MAX_DELAY_S * rate), self._length - 1)
        self._powers: list[np.ndarray] = []
        self._reference: int | None = None
        self._energy = np.zeros(channels)
        self._correlation = np.zeros((channels, 2 * self._max_delay + 1))

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        block = block - block.mean(axis=0, dtype=np.float64).astype(np.float32)
        windows = block[: len(block) // self._level_length * self._level_length]
        windows = windows.reshape(-1, self._level_length, self._channels)
        if not len(windows):
            return
        power = np.einsum("wnc,wnc->wc", windows, windows, dtype=np.float64) / self._level_length
        self._powers.append(power)
        if self._reference is None and power.any():
            self._reference = int(np.argmax(power.sum(axis=0)))
        if self._reference is not None:
            for start in range(0, max(1, len(block) - self._length), STRIDE * self._length):
                self._correlate(block[start : start + self._length], self._reference)

    def _correlate(self, window: np.ndarray, reference: int) -> None:
        size = scipy.fft.next_fast_len(len(window) + self._max_delay, real=True)
        signals = np.ascontiguousarray(window.T)
        spectrum = scipy.fft.rfft(signals, size)
        correlation = scipy.fft.irfft(spectrum * np.conj(spectrum[reference]), size)
        delays = np.arange(-self._max_delay, self._max_delay + 1)
        self._correlation += correlation[:, delays]
        self._energy += np.einsum("cn,cn->c", signals, signals, dtype=np.float64)

    def choice(self) -> ChannelChoice:
        """Returns the channels to score."""
        if self._reference is None:
            return ChannelChoice()
        power = np.concatenate(self._powers)
        levels = np.array([20 * np.log10(max(gated_level(channel), 1e-30)) for channel in power.T])
        live = np.flatnonzero(levels > levels.max() - DEAD_BELOW_DB)
        relations = {channel: self._relation(channel) for channel in live.tolist() if channel != self._reference}
        flags = {relation for relation in relations.values() if relation}
        if len(live) < self._channels:
            flags.add(DEAD)
        if not flags:
            return ChannelChoice()
        by_quality = sorted(live.tolist(), key=lambda channel: -_quality(power[:, channel], float(levels[channel])))
        count = MAX_CANDIDATES if UNLIKE in flags else 1
        ordered = tuple(flag for flag in (ANTIPHASE, DELAYED, DEAD, UNLIKE) if flag in flags)
        return ChannelChoice(tuple(by_quality[:count]), ordered)

    def _relation(self, channel: int) -> str | None:
        """Returns how a channel differs from the reference channel; None if it does not."""
        energy = np.sqrt(self._energy[channel] * self._energy[self._reference])
        if not energy > 0:
            return UNLIKE
        correlation = self._correlation[channel] / energy
        best = int(np.argmax(np.abs(correlation)))
        if abs(correlation[best]) < LEAST_CORRELATION:
            return UNLIKE
        if correlation[best] < 0:
            return ANTIPHASE
        return DELAYED if abs(best - self._max_delay) > LEAST_DELAY_S * self._rate else None


def _quality(power: np.ndarray, level_db: float) -> float:
    """Returns a number that is higher for a better channel: steps between its level and its noise, then its level."""
    noise_db = 10 * np.log10(max(float(np.percentile(power, 10)), 1e-30))
    distance = min(level_db - noise_db, 60.0) // BETTER_DB
    return float(1e4 * distance + round(level_db))
