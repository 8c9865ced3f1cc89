"""Compares the channels of a recording, and decides whether their mean or one of them is scored.

The mean of two channels loses the speech if one is inverted, and gets a comb filter if one is late. Noise in one channel spoils
the mean, and so do gaps in one channel.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.fft

from model.features import gated_level
from transforms.marks import ANTIPHASE, DEAD, DELAYED, NOISY, UNLIKE

# A channel this far below the loudest one carries nothing.
DEAD_BELOW_DB = 40.0
# A channel that is silent in this share of the sound is dead for a part of the recording. It is silent where it is this far
# below the loudest one.
ABSENT_SHARE, ABSENT_BELOW_DB = 0.1, 50.0
# Windows with sound: at most this far below the level of the recording.
SOUND_BELOW_DB = 20.0
# Channels with a lower correlation at every delay carry different sounds.
LEAST_CORRELATION = 0.4
# Longest delay that is searched, and the shortest one that matters: it puts the first zero of the comb filter at 5 kHz.
MAX_DELAY_S, LEAST_DELAY_S = 0.02, 1e-4
# Difference of the distance from speech to noise from which on a channel is better, and largest distance that matters.
BETTER_DB, LARGEST_DB = 3.0, 45.0
# The mean of the channels is this much closer to its noise than the best channel if another channel is noisy.
NOISY_DB = 6.0
# Channels whose shares of high frequencies differ by more do not sound alike.
UNLIKE_TILT_DB = 3.0
# Length of the windows for the levels and for the correlation. One of `STRIDE` windows is correlated, which is
# enough, but in a short block no fewer than `FEWEST_WINDOWS`.
LEVEL_S, CORRELATION_S, STRIDE, FEWEST_WINDOWS = 0.032, 0.25, 6, 20
# Largest number of channels that are scored to find the best one.
MAX_CANDIDATES = 4


@dataclasses.dataclass(frozen=True)
class ChannelChoice:
    """The channels to score, and the reason.

    Attributes:
        candidates: channels of which the one with the best score counts, from 0; empty for the mean of all channels.
        flags: `ANTIPHASE`, `DELAYED`, `DEAD`, `NOISY` and `UNLIKE`, as far as they hold.
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
        # Energies of each channel, and of the reference channel in the same windows.
        self._energy, self._reference_energy = np.zeros(channels), np.zeros(channels)
        # Power of the mean of the channels in each window, and energy of the second differences of each channel.
        self._mean_powers: list[np.ndarray] = []
        self._steps = np.zeros(channels)
        self._correlation = np.zeros((channels, 2 * self._max_delay + 1))

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        num_samples = len(block)
        num_windows = num_samples // self._level_length
        if not num_windows:
            return
        # Channels come first, because numpy is several times as fast along a long last axis.
        signals = np.ascontiguousarray(block.T)
        signals = signals - signals.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        windows = signals[:, : num_windows * self._level_length].reshape(self._channels, num_windows, -1)
        power = _power(windows)
        self._powers.append(power.T)
        self._mean_powers.append(_power(windows.mean(axis=0, keepdims=True, dtype=np.float64))[0])
        self._steps += np.square(np.diff(signals, n=2), dtype=np.float64).sum(axis=1)
        if self._reference is None and power.any():
            self._reference = int(np.argmax(power.sum(axis=1)))
        if self._reference is not None:
            stride = min(STRIDE, max(1, num_samples // (FEWEST_WINDOWS * self._length)))
            for start in range(0, max(1, num_samples - self._length), stride * self._length):
                self._correlate(signals[:, start : start + self._length], self._reference)

    def _correlate(self, signals: np.ndarray, reference: int) -> None:
        """Adds the correlations of the other channels with the reference in a window: float32 [channels, n]."""
        signals = signals - signals.mean(axis=1, keepdims=True)
        energy = np.einsum("cn,cn->c", signals, signals, dtype=np.float64)
        # Where one of two channels is silent, they have nothing in common, and yet may carry the same sound elsewhere.
        least = 10 ** (-ABSENT_BELOW_DB / 10)
        both = (energy > least * energy[reference]) & (energy[reference] > least * energy)
        both[reference] = False
        if not both.any():
            return
        size = scipy.fft.next_fast_len(signals.shape[1] + self._max_delay, real=True)
        spectrum = scipy.fft.rfft(signals, size)
        correlation = scipy.fft.irfft(spectrum[both] * np.conj(spectrum[reference]), size)
        delays = np.arange(-self._max_delay, self._max_delay + 1)
        self._correlation[both] += correlation[:, delays]
        self._energy[both] += energy[both]
        self._reference_energy[both] += energy[reference]

    def choice(self) -> ChannelChoice:
        """Returns the channels to score."""
        if self._reference is None:
            return ChannelChoice()
        power = np.concatenate(self._powers)
        if not np.isfinite(power).all():  # near the range of a float, which the features refuse
            return ChannelChoice()
        levels = np.array([20 * np.log10(max(gated_level(channel), 1e-30)) for channel in power.T])
        live = np.flatnonzero(levels > levels.max() - DEAD_BELOW_DB)
        relations = {channel: self._relation(channel) for channel in live.tolist() if channel != self._reference}
        flags = {relation for relation in relations.values() if relation}
        absent = _absent_shares(power, float(levels.max()))
        is_partly_dead = UNLIKE not in flags and bool((absent[live] >= ABSENT_SHARE).any())
        if len(live) < self._channels or is_partly_dead:
            flags.add(DEAD)
        distances = {channel: _distance(power[:, channel], float(levels[channel])) for channel in live.tolist()}
        # A silent part of a channel looks like a low noise.
        whole = [channel for channel in live.tolist() if not is_partly_dead or absent[channel] < ABSENT_SHARE]
        if not flags:
            mean_power = np.concatenate(self._mean_powers)
            of_mean = _distance(mean_power, 20 * np.log10(max(gated_level(mean_power), 1e-30)))
            if max(distances.values()) < of_mean + NOISY_DB:
                return ChannelChoice()
            flags.add(NOISY)
        order = sorted(
            whole or live.tolist(), key=lambda channel: -_quality(distances[channel], float(levels[channel]))
        )
        energy = power.sum(axis=0) * self._level_length
        candidates = order[:MAX_CANDIDATES] if UNLIKE in flags else self._equally_good(order, distances, energy)
        ordered = tuple(flag for flag in (ANTIPHASE, DELAYED, DEAD, NOISY, UNLIKE) if flag in flags)
        return ChannelChoice(tuple(candidates), ordered)

    @np.errstate(invalid="ignore")
    def _equally_good(self, order: list[int], distances: dict[int, float], energy: np.ndarray) -> list[int]:
        """Returns the best channel, and others of about its distance from noise but another share of high frequencies.

        A muffled channel loses noise, too, so that only the scores tell which of them is the better one.

        Args:
            order: channels, the best first.
            distances: distance from speech to noise of each channel in dB.
            energy: energy of each channel: float64 [channels].
        """
        best, *others = order
        tilt_db = 10 * np.log10((self._steps + 1e-30) / (energy + 1e-30))
        alike = [
            channel
            for channel in others
            if distances[best] - distances[channel] <= 2 * BETTER_DB
            and abs(tilt_db[channel] - tilt_db[best]) > UNLIKE_TILT_DB
        ]
        return [best, *alike][:MAX_CANDIDATES]

    def _relation(self, channel: int) -> str | None:
        """Returns how a channel differs from the reference channel; None if it does not."""
        energy = np.sqrt(self._energy[channel] * self._reference_energy[channel])
        if not energy > 0:
            return UNLIKE
        correlation = self._correlation[channel] / energy
        best = int(np.argmax(np.abs(correlation)))
        if abs(correlation[best]) < LEAST_CORRELATION:
            return UNLIKE
        if correlation[best] < 0:
            return ANTIPHASE
        return DELAYED if abs(best - self._max_delay) > LEAST_DELAY_S * self._rate else None


def _power(windows: np.ndarray) -> np.ndarray:
    """Returns the variance of each of some windows [channels, w, n], which an offset does not change: float64 [channels, w]."""
    mean = windows.mean(axis=2, dtype=np.float64)
    square = np.einsum("cwn,cwn->cw", windows, windows, dtype=np.float64) / windows.shape[2]
    return np.asarray(np.maximum(square - np.square(mean), 0.0))


def _absent_shares(power: np.ndarray, level_db: float) -> np.ndarray:
    """Returns the share of the sound in which each channel is silent: float64 [channels].

    Args:
        power: mean square of the channels in each window: float64 [w, channels].
        level_db: level of the loudest channel.
    """
    loudest = power.max(axis=1)
    sounds = loudest > 10 ** ((level_db - SOUND_BELOW_DB) / 10)
    absent = power[sounds] < loudest[sounds, np.newaxis] * 10 ** (-ABSENT_BELOW_DB / 10)
    return np.asarray(absent.mean(axis=0)) if len(absent) else np.zeros(power.shape[1])


def _distance(power: np.ndarray, level_db: float) -> float:
    """Returns the distance from the level of a channel to its noise in dB, as far as it matters."""
    noise_db = 10 * np.log10(max(float(np.percentile(power, 10)), 1e-30))
    return min(level_db - noise_db, LARGEST_DB)


def _quality(distance_db: float, level_db: float) -> float:
    """Returns a number that is higher for a better channel: steps between its level and its noise, then its level."""
    return float(1e4 * (distance_db // BETTER_DB) + round(level_db))
