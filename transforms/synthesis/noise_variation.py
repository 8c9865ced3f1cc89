"""One noise played in many ways: of a hundred sounds it makes thousands.

A scorer that has heard few noises takes new ones for part of the voice, above all those that come in pulses (clocks, steps,
crunching) or ring (bells, alarms). So a noise may be bent much further than speech: there is nothing that it must remain.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.signal import fftconvolve, lfilter

from model.features import SAMPLE_RATE
from transforms.synthesis.speech_variation import Equalizer, draw_equalizer, play, samples_needed

SPEED = 2.0
EQUALIZER_DB = 12.0
BACKWARDS, PULSED, RINGING = 0.3, 0.3, 0.25
# Pulses differ from one another by up to so much.
PULSE_DB = 12.0
LONGEST_RING_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Pulses:
    """A noise that is heard in pulses: each begins at once and dies away.

    Attributes:
        rate_hz: mean number of pulses a second.
        regular: whether they come like a clock's; else at random (a Poisson process).
        decay_s: time in which a pulse falls to 1/e.
        seed: decides when they come and how loud each is.
    """

    rate_hz: float
    regular: bool
    decay_s: float
    seed: int

    @property
    def detail(self) -> str:
        """Rate and length."""
        order = "regular" if self.regular else "random"
        return f"in {order} pulses, {self.rate_hz:.1f} a second, of {1000 * self.decay_s:.0f} ms"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Samples [n] under the pulses: float32 [n]. The first begins within the first period: never is all silent."""
        rng = np.random.default_rng(self.seed)
        period = SAMPLE_RATE / self.rate_hz
        count = math.ceil(len(samples) / period) + 1
        gaps = np.full(count, period) if self.regular else rng.exponential(period, count)
        starts = (np.cumsum(gaps) - gaps[0] + rng.uniform(0, min(period, len(samples)))).astype(int)
        hits = np.zeros(len(samples), np.float32)
        inside = starts < len(samples)
        hits[starts[inside]] = 10 ** (rng.uniform(-PULSE_DB, 0.0, count)[inside] / 20)
        envelope = lfilter([1.0], [1.0, -math.exp(-1 / (self.decay_s * SAMPLE_RATE))], hits)
        return (samples * envelope).astype(np.float32)


@dataclasses.dataclass(frozen=True, slots=True)
class Ring:
    """A body that a noise makes ring.

    Attributes:
        tones: of each its frequency in Hz, its amplitude, and the time in s in which it falls to 1/e.
    """

    tones: tuple[tuple[float, float, float], ...]

    @property
    def detail(self) -> str:
        """The frequencies."""
        return "ringing at " + ", ".join(f"{frequency:.0f}" for frequency, _, _ in self.tones) + " Hz"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Samples [n] through the body: float32 [n]."""
        longest = min(LONGEST_RING_S, 5 * max(decay for _, _, decay in self.tones))
        seconds = np.arange(max(1, round(longest * SAMPLE_RATE))) / SAMPLE_RATE
        response = sum(
            amplitude * np.exp(-seconds / decay) * np.sin(2 * np.pi * frequency * seconds)
            for frequency, amplitude, decay in self.tones
        )
        heard: np.ndarray = fftconvolve(samples, np.asarray(response, np.float32))[: len(samples)]
        return heard.astype(np.float32, copy=False)


@dataclasses.dataclass(frozen=True, slots=True)
class NoiseVariation:
    """A noise played otherwise.

    Attributes:
        speed: how many times as fast; the pitch goes along.
        backwards: whether it is played from its end.
        equalizer: shapes its spectrum.
        pulses: what it is cut into; None leaves it whole.
        ring: what it makes ring; None for nothing.
    """

    speed: float
    backwards: bool
    equalizer: Equalizer
    pulses: Pulses | None = None
    ring: Ring | None = None

    @property
    def detail(self) -> str:
        """All that is done."""
        parts = [f"{self.speed:.2f} times as fast", *(["backwards"] if self.backwards else []), self.equalizer.detail]
        return ", ".join(parts + [step.detail for step in (self.pulses, self.ring) if step is not None])

    def needed(self, length: int) -> int:
        """Samples of noise from which `length` are made."""
        return samples_needed(length, self.speed)

    def apply(self, samples: np.ndarray, length: int) -> np.ndarray:
        """Plays `needed(length)` samples [m] at 16 kHz: float32 [length]."""
        played = play(samples, self.speed, length)
        played = self.equalizer.apply(played[::-1] if self.backwards else played)
        for step in (self.pulses, self.ring):
            played = played if step is None else step.apply(played)
        return played


def draw_noise_variation(rng: np.random.Generator) -> NoiseVariation:
    """Speeds from half to double, as often slower as faster; some are played backwards, in pulses, or ring."""
    return NoiseVariation(
        speed=float(SPEED ** rng.uniform(-1.0, 1.0)),
        backwards=bool(rng.random() < BACKWARDS),
        equalizer=draw_equalizer(rng, EQUALIZER_DB),
        pulses=_draw_pulses(rng) if rng.random() < PULSED else None,
        ring=_draw_ring(rng) if rng.random() < RINGING else None,
    )


def _draw_pulses(rng: np.random.Generator) -> Pulses:
    rate_hz, decay_s = np.exp(rng.uniform(np.log((0.7, 0.002)), np.log((12.0, 0.3))))
    return Pulses(float(rate_hz), bool(rng.integers(2)), float(decay_s), int(rng.integers(2**32)))


def _draw_ring(rng: np.random.Generator) -> Ring:
    count = int(rng.integers(1, 7))
    frequencies = np.exp(rng.uniform(np.log(200.0), np.log(6000.0), count))
    amplitudes = 10 ** (rng.uniform(-20.0, 0.0, count) / 20)
    decays = np.exp(rng.uniform(np.log(0.01), np.log(0.5), count))
    return Ring(tuple(zip(frequencies.tolist(), amplitudes.tolist(), decays.tolist(), strict=True)))
