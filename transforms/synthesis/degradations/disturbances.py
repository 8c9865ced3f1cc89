"""Noises that arise at the microphone: wind, handling, and pops of plosives."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.additive import add_sound, block_powers
from transforms.synthesis.degradations.base import Degraded, HeardCause, audible
from transforms.synthesis.spectral_filters import high_pass, low_pass, shape_spectrum

# Negative SNRs in dB from which a noise at the microphone may be heard, and is surely heard.
AUDIBLE = (-35.0, -25.0)
# Frequency in Hz below which recorders attenuate wind.
WIND_LOW_HZ = 20.0
# Gusts a second, and ranges of their rise, hold and fall in seconds, and of their level in dB.
GUSTS_HZ, GUST_RISE_S, GUST_HOLD_S, GUST_FALL_S, GUST_DB = 0.5, (0.05, 0.4), (0.1, 1.2), (0.2, 0.8), (-10.0, 0.0)
# Turbulence: changes a second of the level within a gust, and their standard deviation in dB.
TURBULENCE_HZ, TURBULENCE_DB = 12.0, 4.0
# Handling: shares of rubs among the events, and ranges of their length in seconds, band in Hz and level in dB.
RUB_RATIO, RUB_S, RUB_LOW_HZ, RUB_HIGH_HZ, EVENT_DB = 0.4, (0.08, 0.5), (150.0, 600.0), (1500.0, 5000.0), (-8.0, 0.0)
# Grains of a rub a second.
GRAINS_HZ = 80.0
# Thumps and pops: ranges of their frequency in Hz and of the time in seconds in which they decay to 1/e.
THUMP_HZ, THUMP_S = (40.0, 160.0), (0.010, 0.040)
POP_HZ, POP_S, POP_DB = (25.0, 80.0), (0.015, 0.040), (-6.0, 0.0)
# Thumps and pops start within about this time, in seconds.
ATTACK_S = 0.004
# A loud syllable starts where the level rises by `ONSET_DB` within `ONSET_S` to at least `LOUD_DB` relative to the
# loudest block of 10 ms. Two starts are at least `ONSET_GAP_S` apart.
ONSET_BLOCK, ONSET_DB, LOUD_DB, ONSET_S, ONSET_GAP_S = 160, 12.0, -18.0, 0.05, 0.15


@dataclasses.dataclass(frozen=True, slots=True)
class Wind:
    """Gusts of wind on a microphone: noise with a power spectrum of 1/f^2, as measured outdoors, up to a corner frequency.

    Attributes:
        snr_db: mean power of the recording over that of the wind in its gusts, in dB.
        corner_hz: frequency in Hz above which the spectrum falls more steeply.
        overload_db: overload of the recorder by the strongest gust in dB; 0 for none. Outside the gusts, nothing is clipped.
        seed: seed of the gusts.
    """

    KIND: ClassVar[str] = "wind"
    snr_db: float
    corner_hz: float
    overload_db: float
    seed: int

    @property
    def detail(self) -> str:
        """Level, corner frequency and overload."""
        overload = f", {self.overload_db:.1f} dB over" if self.overload_db > 0 else ""
        return f"SNR of {self.snr_db:.1f} dB, below {self.corner_hz:.0f} Hz{overload}"

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Noise, by its SNR, and perhaps clipping."""
        noise = _heard_noise(self.snr_db)
        return (noise, HeardCause("clipping", None)) if self.overload_db > 0 else (noise,)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Adds the gusts, and clips the sum if the recorder overloads."""
        rng = np.random.default_rng(self.seed)

        def gain(frequency: np.ndarray) -> np.ndarray:
            falling = low_pass(frequency, self.corner_hz, 3) / np.maximum(frequency / WIND_LOW_HZ, 1.0)
            return falling * high_pass(frequency, WIND_LOW_HZ, 2)

        noise = shape_spectrum(rng.standard_normal(len(samples), np.float32), gain)
        degraded = add_sound(samples, noise * _gusts(rng, len(samples)), self.snr_db)
        if self.overload_db <= 0:
            return degraded
        speech_peak, peak = (np.abs(values).max(initial=0.0) for values in (samples, degraded.samples))
        ceiling = max(speech_peak, peak * np.float32(10 ** (-self.overload_db / 20)))
        return Degraded(np.clip(degraded.samples, -ceiling, ceiling), degraded.spans)


def _gusts(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draws the envelope of gusts: float32 [length], 0 between them. The strongest one starts within the recording."""
    seconds = length / SAMPLE_RATE
    time = np.arange(length) / SAMPLE_RATE
    envelope = np.zeros(length)
    for number in range(1 + rng.poisson(GUSTS_HZ * seconds)):
        rise, hold, fall = (rng.uniform(*limits) for limits in (GUST_RISE_S, GUST_HOLD_S, GUST_FALL_S))
        start = rng.uniform(0.0, max(0.0, seconds - rise - hold))
        level = 10 ** (rng.uniform(*GUST_DB) / 20) if number else 1.0
        corners = (start, start + rise, start + rise + hold, start + rise + hold + fall)
        envelope = np.maximum(envelope, level * np.interp(time, corners, (0.0, 1.0, 1.0, 0.0)))
    points = np.arange(int(seconds * TURBULENCE_HZ) + 2) / TURBULENCE_HZ
    turbulence_db = np.interp(time, points, rng.normal(0.0, TURBULENCE_DB, len(points)))
    # The square of a linear ramp starts and ends without a step.
    return (np.square(envelope) * 10 ** (turbulence_db / 20)).astype(np.float32)


@dataclasses.dataclass(frozen=True, slots=True)
class _ShortNoises:
    """Short noises at a level.

    Attributes:
        snr_db: mean power of the recording over that of the noises where they sound, in dB.
    """

    snr_db: float

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Noise, by its SNR."""
        return (_heard_noise(self.snr_db),)


@dataclasses.dataclass(frozen=True, slots=True)
class Handling(_ShortNoises):
    """Noise of handling the microphone: thumps of fingers and tables, and rubs of clothes and cables.

    Attributes:
        snr_db: mean power of the recording over that of the events where they sound, in dB.
        count: number of events.
        seed: seed of the events.
    """

    KIND: ClassVar[str] = "handling"
    count: int
    seed: int

    @property
    def detail(self) -> str:
        """Number and level of the events."""
        return f"{self.count} at an SNR of {self.snr_db:.1f} dB"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Adds the events."""
        rng = np.random.default_rng(self.seed)
        sound = np.zeros(len(samples), np.float32)
        for _ in range(self.count):
            event = _rub(rng) if rng.random() < RUB_RATIO else _thump(rng, THUMP_HZ, THUMP_S)
            level = 10 ** (rng.uniform(*EVENT_DB) / 20)
            start = int(rng.integers(max(1, len(samples) - len(event))))
            sound[start : start + len(event)] += level * event[: len(samples) - start]
        return add_sound(samples, sound, self.snr_db)


@dataclasses.dataclass(frozen=True, slots=True)
class Plosives(_ShortNoises):
    """Pops of plosives: puffs of breath that hit the microphone at the start of loud syllables.

    Attributes:
        snr_db: mean power of the recording over that of the pops where they sound, in dB.
        share: share of the loud syllables with a pop, 0 to 1; there is at least one.
        seed: seed of the pops.
    """

    KIND: ClassVar[str] = "plosives"
    share: float
    seed: int

    @property
    def detail(self) -> str:
        """Share and level of the pops."""
        return f"on {100 * self.share:.0f} % of the syllables at an SNR of {self.snr_db:.1f} dB"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Adds the pops."""
        rng = np.random.default_rng(self.seed)
        sound = np.zeros(len(samples), np.float32)
        starts = loud_onsets(samples)
        chosen = rng.permutation(starts)[: max(1, round(self.share * len(starts)))]
        for start in np.sort(chosen).tolist():
            pop = _thump(rng, POP_HZ, POP_S) * np.float32(10 ** (rng.uniform(*POP_DB) / 20))
            sound[start : start + len(pop)] += pop[: len(samples) - start]
        return add_sound(samples, sound, self.snr_db)


def _heard_noise(snr_db: float) -> HeardCause:
    """Returns how a noise at the microphone is heard at an SNR in dB."""
    return HeardCause("noise", audible(-snr_db, *AUDIBLE))


def loud_onsets(samples: np.ndarray) -> np.ndarray:
    """Returns the samples at which loud syllables start in samples [n]: int64 [k].

    If no level rises suddenly, it is the start of the loudest block. In silence there is none.
    """
    powers = block_powers(samples, ONSET_BLOCK)
    loudest = powers.max(initial=0.0)
    if loudest <= 0.0:
        return np.empty(0, np.int64)
    levels = 10 * np.log10(np.maximum(powers / loudest, 1e-9))
    back = round(ONSET_S * SAMPLE_RATE / ONSET_BLOCK)
    before = np.concatenate([np.full(back, -90.0), levels])[: len(levels)]
    rises = np.flatnonzero((levels >= LOUD_DB) & (levels - before >= ONSET_DB)).tolist()
    gap = round(ONSET_GAP_S * SAMPLE_RATE / ONSET_BLOCK)
    starts: list[int] = []
    for block in rises:
        if not starts or block - starts[-1] >= gap:
            starts.append(block)
    return np.array(starts or [int(np.argmax(levels))], np.int64) * ONSET_BLOCK


def _thump(rng: np.random.Generator, frequency_hz: tuple[float, float], decay_s: tuple[float, float]) -> np.ndarray:
    """Draws a decaying low tone with a smooth start: float32 [m], of mean power 1."""
    frequency, decay = rng.uniform(*frequency_hz), rng.uniform(*decay_s)
    time = np.arange(round(6 * decay * SAMPLE_RATE)) / SAMPLE_RATE
    attack = np.square(1 - np.exp(-time / ATTACK_S))
    wave = attack * np.exp(-time / decay) * np.sin(2 * np.pi * frequency * time + rng.uniform(0, np.pi))
    # Both ends are 0.
    wave *= np.clip((time[-1] - time) / decay, 0.0, 1.0)
    return _unit_power(wave)


def _rub(rng: np.random.Generator) -> np.ndarray:
    """Draws a scratching noise made of grains: float32 [m], of mean power 1."""
    length = round(rng.uniform(*RUB_S) * SAMPLE_RATE)
    low_hz, high_hz = rng.uniform(*RUB_LOW_HZ), rng.uniform(*RUB_HIGH_HZ)
    noise = shape_spectrum(
        rng.standard_normal(length, np.float32),
        lambda frequency: high_pass(frequency, low_hz, 1) * low_pass(frequency, high_hz, 2),
    )
    points = np.linspace(0, length - 1, max(3, round(length / SAMPLE_RATE * GRAINS_HZ)))
    grains = np.interp(np.arange(length), points, rng.exponential(size=len(points)))
    return _unit_power(noise * grains * np.sin(np.pi * np.arange(length) / length))


def _unit_power(wave: np.ndarray) -> np.ndarray:
    return (wave / np.sqrt(np.mean(np.square(wave)))).astype(np.float32)
