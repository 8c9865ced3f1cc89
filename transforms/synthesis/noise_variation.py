"""Variations of noise in speed, direction, spectrum, pulses and ringing, which turn a hundred noises into thousands.

A scorer that was trained on few noises mistakes new ones for speech, above all pulses (clocks, steps) and ringing (bells,
alarms). Noise may be varied more strongly than speech, because it need not sound natural.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.signal import fftconvolve, lfilter

from model.features import SAMPLE_RATE
from transforms.synthesis.speech_variation import Equalizer, change_speed, draw_equalizer, samples_needed

MAX_SPEED = 2.0
EQUALIZER_DB = 12.0
# Shares of noises that are reversed, that are cut into pulses, and that ring.
BACKWARDS_RATIO, PULSED_RATIO, RINGING_RATIO = 0.3, 0.3, 0.25
# Largest difference in level between two pulses, in dB.
PULSE_DB = 12.0
MAX_RING_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Pulses:
    """An envelope of pulses with a sudden start and an exponential decay.

    Attributes:
        rate_hz: mean number of pulses a second.
        regular: whether the pulses are periodic; otherwise they are random (a Poisson process).
        decay_s: time in seconds in which a pulse decays to 1/e.
        seed: seed of the positions and levels of the pulses.
    """

    rate_hz: float
    regular: bool
    decay_s: float
    seed: int

    @property
    def detail(self) -> str:
        """Rate and length of the pulses."""
        order = "regular" if self.regular else "random"
        return f"in {order} pulses, {self.rate_hz:.1f} a second, of {1000 * self.decay_s:.0f} ms"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Applies the envelope to samples [n]: float32 [n]. The first pulse starts in the first period."""
        rng = np.random.default_rng(self.seed)
        period = SAMPLE_RATE / self.rate_hz
        count = math.ceil(len(samples) / period) + 1
        gaps = np.full(count, period) if self.regular else rng.exponential(period, count)
        starts = (np.cumsum(gaps) - gaps[0] + rng.uniform(0, min(period, len(samples)))).astype(int)
        impulses = np.zeros(len(samples), np.float32)
        inside = starts < len(samples)
        impulses[starts[inside]] = 10 ** (rng.uniform(-PULSE_DB, 0.0, count)[inside] / 20)
        envelope = lfilter([1.0], [1.0, -math.exp(-1 / (self.decay_s * SAMPLE_RATE))], impulses)
        return (samples * envelope).astype(np.float32)


@dataclasses.dataclass(frozen=True, slots=True)
class Ring:
    """Resonances that a noise excites.

    Attributes:
        tones: for each resonance its frequency in Hz, its amplitude, and the time in seconds in which it decays to 1/e.
    """

    tones: tuple[tuple[float, float, float], ...]

    @property
    def detail(self) -> str:
        """Frequencies of the resonances."""
        return "ringing at " + ", ".join(f"{frequency:.0f}" for frequency, _, _ in self.tones) + " Hz"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Filters samples [n] with the resonances: float32 [n]."""
        longest = min(MAX_RING_S, 5 * max(decay for _, _, decay in self.tones))
        seconds = np.arange(max(1, round(longest * SAMPLE_RATE))) / SAMPLE_RATE
        response = sum(
            amplitude * np.exp(-seconds / decay) * np.sin(2 * np.pi * frequency * seconds)
            for frequency, amplitude, decay in self.tones
        )
        ringing: np.ndarray = fftconvolve(samples, np.asarray(response, np.float32))[: len(samples)]
        return ringing.astype(np.float32, copy=False)


@dataclasses.dataclass(frozen=True, slots=True)
class NoiseVariation:
    """A variation of a noise.

    Attributes:
        speed: factor of speed and pitch.
        backwards: whether the noise is reversed in time.
        equalizer: change of the spectrum.
        pulses: envelope of pulses; None for none.
        ring: resonances; None for none.
    """

    speed: float
    backwards: bool
    equalizer: Equalizer
    pulses: Pulses | None = None
    ring: Ring | None = None

    @property
    def detail(self) -> str:
        """All steps of the variation."""
        parts = [f"{self.speed:.2f} times as fast", *(["backwards"] if self.backwards else []), self.equalizer.detail]
        return ", ".join(parts + [step.detail for step in (self.pulses, self.ring) if step is not None])

    def samples_needed(self, length: int) -> int:
        """Returns the number of samples of noise from which `apply` makes `length`."""
        return samples_needed(length, self.speed)

    def apply(self, samples: np.ndarray, length: int) -> np.ndarray:
        """Varies `samples_needed(length)` samples at 16 kHz: float32 [length]."""
        varied = change_speed(samples, self.speed, length)
        varied = self.equalizer.apply(varied[::-1] if self.backwards else varied)
        for step in (self.pulses, self.ring):
            varied = varied if step is None else step.apply(varied)
        return varied


def draw_noise_variation(rng: np.random.Generator) -> NoiseVariation:
    """Draws a variation: a speed from half to double, a spectrum, and for some noises reversal, pulses or ringing."""
    return NoiseVariation(
        speed=float(MAX_SPEED ** rng.uniform(-1.0, 1.0)),
        backwards=bool(rng.random() < BACKWARDS_RATIO),
        equalizer=draw_equalizer(rng, EQUALIZER_DB),
        pulses=_draw_pulses(rng) if rng.random() < PULSED_RATIO else None,
        ring=_draw_ring(rng) if rng.random() < RINGING_RATIO else None,
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
