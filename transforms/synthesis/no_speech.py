"""Sounds for clips without speech that need no recording: the noise floor of a recorder, tones, and hum of the mains."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import SampleSpan
from transforms.synthesis.spectral_filters import shape_spectrum

# Peaks in dBFS of a noise floor; one step of 16 bits is -90.3 dBFS.
FLOOR_PEAK_DBFS = (-90.0, -55.0)
# Slopes of the spectrum of a noise floor in dB per octave: from brown over pink to white, and a little beyond.
FLOOR_SLOPE_DB = (-6.0, 1.5)
# Pitch of tones in Hz, length of beeps and of the pauses between them in seconds, and their level over the noise floor in dB.
TONE_HZ, BEEP_S, PAUSE_S, TONE_SNR_DB = (100.0, 4_000.0), (0.05, 0.6), (0.05, 0.8), (20.0, 70.0)
# The frequencies of touch tones (ITU-T Q.23) in Hz, of which two sound together.
TOUCH_LOW_HZ, TOUCH_HIGH_HZ = (697.0, 770.0, 852.0, 941.0), (1_209.0, 1_336.0, 1_477.0, 1_633.0)
# Ramps at the ends of a beep, in samples.
RAMP = round(0.005 * SAMPLE_RATE)
_LOWEST_HZ = 20.0


class QuietSound(Protocol):
    """A sound without speech."""

    KIND: ClassVar[str]
    CAUSE: ClassVar[str | None]

    @property
    def detail(self) -> str:
        """Description of the sound."""

    def make(self, length: int) -> np.ndarray:
        """Returns the sound at any level: float32 [length], not silent."""

    def spans(self, length: int) -> tuple[SampleSpan, ...]:
        """Returns the parts of a clip of `length` samples with the sound."""


@dataclasses.dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Stationary noise with a sloping spectrum. It is no damage: alone in a clip, it is very quiet.

    Attributes:
        slope_db: slope of the spectrum in dB per octave.
        seed: seed of the noise.
    """

    KIND: ClassVar[str] = "noise_floor"
    CAUSE: ClassVar[str | None] = None
    slope_db: float
    seed: int

    @property
    def detail(self) -> str:
        """The slope."""
        return f"{self.slope_db:.1f} dB per octave"

    def make(self, length: int) -> np.ndarray:
        """Returns the noise with a power of about 1: float32 [length]."""
        white = np.random.default_rng(self.seed).standard_normal(length).astype(np.float32)

        def gain(frequency: np.ndarray) -> np.ndarray:
            return (np.maximum(frequency, _LOWEST_HZ) / 1_000.0) ** (self.slope_db / (20 * np.log10(2.0)))

        shaped = shape_spectrum(white, gain)
        return shaped / np.sqrt(np.mean(np.square(shaped)))

    def spans(self, length: int) -> tuple[SampleSpan, ...]:
        """Returns a single span over the clip."""
        return ((0, length),)


@dataclasses.dataclass(frozen=True, slots=True)
class Tones:
    """Steady tones or beeps over a noise floor, such as dial tones, touch tones and test tones.

    Attributes:
        floor: the noise floor.
        frequencies_hz: frequencies that sound together, in Hz.
        snr_db: level of the tones over the noise floor in dB.
        beeps_s: start and end of each beep in seconds; a single pair for a steady tone.
    """

    KIND: ClassVar[str] = "tones"
    CAUSE: ClassVar[str | None] = "noise"
    floor: NoiseFloor
    frequencies_hz: tuple[float, ...]
    snr_db: float
    beeps_s: tuple[tuple[float, float], ...]

    @property
    def detail(self) -> str:
        """Frequencies, and the number of beeps."""
        return f"{' + '.join(f'{frequency:.0f}' for frequency in self.frequencies_hz)} Hz, {len(self.beeps_s)} times"

    def make(self, length: int) -> np.ndarray:
        """Returns the tones with a power of about 1 in the beeps: float32 [length]."""
        time = np.arange(length)
        envelope = np.zeros(length, np.float32)
        for start, end in self.beeps_s:
            inside = np.minimum(time - start * SAMPLE_RATE, end * SAMPLE_RATE - time) / RAMP
            envelope = np.maximum(envelope, np.clip(inside, 0.0, 1.0))
        tone = sum(np.sin(2 * np.pi * hz / SAMPLE_RATE * time) for hz in self.frequencies_hz)
        tone = tone * np.sqrt(2 / len(self.frequencies_hz))
        return (envelope * tone + 10 ** (-self.snr_db / 20) * self.floor.make(length)).astype(np.float32)

    def spans(self, length: int) -> tuple[SampleSpan, ...]:
        """Returns the beeps."""
        return tuple((round(start * SAMPLE_RATE), min(round(end * SAMPLE_RATE), length)) for start, end in self.beeps_s)


def draw_floor(rng: np.random.Generator) -> NoiseFloor:
    """Draws a noise floor."""
    return NoiseFloor(float(rng.uniform(*FLOOR_SLOPE_DB)), int(rng.integers(2**32)))


def draw_tones(rng: np.random.Generator, length_s: float) -> Tones:
    """Draws touch tones, or one to three tones of any pitch: steady for a third of the clips, else beeps from start to end.

    Args:
        rng: random generator.
        length_s: length of the clip in seconds.
    """
    if rng.random() < 0.3:
        frequencies: Sequence[float] = [rng.choice(TOUCH_LOW_HZ), rng.choice(TOUCH_HIGH_HZ)]
    else:
        frequencies = np.exp(rng.uniform(np.log(TONE_HZ[0]), np.log(TONE_HZ[1]), int(rng.integers(1, 4)))).tolist()
    beeps = [(0.0, length_s)] if rng.random() < 1 / 3 else _draw_beeps(rng, length_s)
    return Tones(draw_floor(rng), tuple(map(float, frequencies)), float(rng.uniform(*TONE_SNR_DB)), tuple(beeps))


def _draw_beeps(rng: np.random.Generator, length_s: float) -> list[tuple[float, float]]:
    """Draws beeps of equal length with equal pauses, from the start to the end of the clip; at least one."""
    beep, pause = float(rng.uniform(*BEEP_S)), float(rng.uniform(*PAUSE_S))
    # The last beep is not cut to a click.
    starts = np.arange(0.0, max(length_s - BEEP_S[0], beep), beep + pause).tolist()
    return [(start, min(start + beep, length_s)) for start in starts]
