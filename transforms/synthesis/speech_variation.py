"""Variations of clean speech: voices, microphones, equalisers, good codecs, small rooms and digital silence, but no noise.

The reference and the degraded signal have the same variations, so a variation does not lower the label. A model that is trained
on such clips does not mistake a dull microphone for a degradation.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np
import soxr
from scipy.ndimage import maximum_filter1d

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.codecs import GOOD, Coding, transcode
from transforms.synthesis.rooms import CLOSE_M, MIN_RT60_S, Room, bank, impulse_response, reverberate
from transforms.synthesis.spectral_filters import high_pass, low_pass, shape_spectrum

MAX_VARIATIONS = 2
# Largest factor of speed, up or down, at which a voice still sounds natural.
VOICE_SPEED = 1.2
# Frequencies of the equaliser in Hz, and its largest gain in dB.
EQUALIZER_HZ = (100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
EQUALIZER_DB = 6.0
SMALL_ROOM_RT60_S = (MIN_RT60_S, 0.25)
# Samples of a block of 5 ms in which levels are measured.
GATE_BLOCK = round(0.005 * SAMPLE_RATE)
# Thresholds in dB relative to the loudest block, hold times in seconds, and gains in dB.
GATE_DB, GATE_HOLD_S = (-60.0, -35.0), (0.02, 0.2)
EXPANDER_DB, EXPANDER_HOLD_S, EXPANDER_GAIN_DB = (-50.0, -28.0), (0.002, 0.1), (-60.0, -10.0)
# Probabilities of the variations. A codec is the rarest, because it takes the longest.
WEIGHTS = {"equalizer": 0.3, "microphone": 0.3, "room": 0.2, "silence": 0.13, "codec": 0.07}


class Variation(Protocol):
    """A variation of clean speech with its parameters."""

    @property
    def detail(self) -> str:
        """Description of its kind and strength."""

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Varies samples [n] at 16 kHz: float32 [n]. Does not change its argument."""


@dataclasses.dataclass(frozen=True, slots=True)
class Equalizer:
    """An equaliser.

    Attributes:
        gains_db: gains in dB at `EQUALIZER_HZ`, between which it interpolates linearly over octaves.
    """

    gains_db: tuple[float, ...]

    @property
    def detail(self) -> str:
        """The gains."""
        return "equalizer " + " ".join(f"{gain:+.0f}" for gain in self.gains_db) + " dB"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Shapes the spectrum."""

        def gain(frequency: np.ndarray) -> np.ndarray:
            octaves = np.log2(np.maximum(frequency, 1.0))
            return 10 ** (np.interp(octaves, np.log2(EQUALIZER_HZ), self.gains_db) / 20)

        return shape_spectrum(samples, gain)


@dataclasses.dataclass(frozen=True, slots=True)
class Microphone:
    """The band of a microphone.

    Attributes:
        low_hz: lower cut-off frequency in Hz.
        low_order: order of the slope below it, 6 dB an octave each.
        high_hz: upper cut-off frequency in Hz.
        high_order: order of the slope above it.
    """

    low_hz: float
    low_order: int
    high_hz: float
    high_order: int

    @property
    def detail(self) -> str:
        """The band."""
        return f"microphone {self.low_hz:.0f} to {self.high_hz:.0f} Hz"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Attenuates frequencies outside the band."""

        def gain(frequency: np.ndarray) -> np.ndarray:
            low = high_pass(frequency, self.low_hz, self.low_order)
            return low * low_pass(frequency, self.high_hz, self.high_order)

        return shape_spectrum(samples, gain)


@dataclasses.dataclass(frozen=True, slots=True)
class SmallRoom:
    """A small dry room.

    Attributes:
        room: the room, with the speaker close to the microphone.
    """

    room: Room

    @property
    def detail(self) -> str:
        """The room."""
        return f"room {self.room}"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Adds the reverberation of the room."""
        return reverberate(samples, impulse_response(self.room))


@dataclasses.dataclass(frozen=True, slots=True)
class GoodCodec:
    """A codec.

    Attributes:
        coding: a coding at a bit rate that is hardly audible.
    """

    coding: Coding

    @property
    def detail(self) -> str:
        """The coding."""
        return f"codec {self.coding}"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Encodes and decodes the samples."""
        return transcode(samples, self.coding)


@dataclasses.dataclass(frozen=True, slots=True)
class DigitalSilence:
    """Digital silence in pauses, as editors, noise gates and speech synthesisers make it. No speech is removed.

    Attributes:
        threshold_db: level relative to the loudest block of 5 ms, in dB, below which blocks are silenced.
        hold_s: time before and after a louder block that is not silenced, in seconds.
    """

    threshold_db: float
    hold_s: float

    @property
    def detail(self) -> str:
        """The threshold and hold time."""
        return f"silence under {self.threshold_db:.0f} dB, held {1000 * self.hold_s:.0f} ms"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Silences the pauses, with ramps of 5 ms."""
        return _gate(samples, self.threshold_db, self.hold_s, 0.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Expander:
    """A downward expander, as in recorders, conference systems and broadcasting. It also acts in the gaps within words.

    Attributes:
        threshold_db: level relative to the loudest block of 5 ms, in dB, below which blocks are attenuated.
        hold_s: time before and after a louder block that is not attenuated, in seconds.
        gain_db: gain of the attenuated blocks in dB.
    """

    threshold_db: float
    hold_s: float
    gain_db: float

    @property
    def detail(self) -> str:
        """Gain, threshold and hold time."""
        return f"expander {self.gain_db:.0f} dB under {self.threshold_db:.0f} dB, held {1000 * self.hold_s:.0f} ms"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Attenuates soft blocks, with ramps of 5 ms."""
        return _gate(samples, self.threshold_db, self.hold_s, 10 ** (self.gain_db / 20))


def _gate(samples: np.ndarray, threshold_db: float, hold_s: float, closed_gain: float) -> np.ndarray:
    """Applies `closed_gain` to the blocks of samples [n] below the threshold, and 1 to the others."""
    count = -(-len(samples) // GATE_BLOCK)
    blocks = np.zeros(count * GATE_BLOCK, np.float32)
    blocks[: len(samples)] = samples
    levels = np.square(blocks.reshape(count, GATE_BLOCK)).mean(axis=1)
    hold = 2 * round(hold_s * SAMPLE_RATE / GATE_BLOCK) + 1
    is_open = maximum_filter1d((levels > levels.max(initial=0.0) * 10 ** (threshold_db / 10)).astype(int), hold)
    middles = np.arange(count) * GATE_BLOCK + GATE_BLOCK / 2
    gain = np.interp(np.arange(len(samples)), middles, np.where(is_open, 1.0, closed_gain)) if count else np.empty(0)
    return (samples * gain).astype(np.float32)


def samples_needed(length: int, speed: float) -> int:
    """Returns the number of samples from which `change_speed` makes `length`."""
    return length if speed == 1.0 else math.ceil(length * speed) + 1


def change_speed(samples: np.ndarray, speed: float, length: int) -> np.ndarray:
    """Changes speed and pitch by resampling.

    Args:
        samples: `samples_needed` samples at 16 kHz: float [m]. The result of fewer ends in zeros.
        speed: factor of speed and pitch.
        length: number of samples of the result.

    Returns:
        Samples at the new speed: float32 [length].
    """
    resampled = samples.astype(np.float32, copy=False)
    if speed != 1.0:
        resampled = soxr.resample(resampled, SAMPLE_RATE * speed, SAMPLE_RATE, quality="LQ")
    return np.pad(resampled, (0, max(0, length - len(resampled))))[:length]


def draw_speed(rng: np.random.Generator) -> float:
    """Draws the speed of a voice; slower and faster are equally likely. The voice then resembles another speaker's."""
    return float(VOICE_SPEED ** rng.uniform(-1.0, 1.0))


def draw_expander(rng: np.random.Generator) -> Expander:
    """Draws an expander, from a gentle one with a long hold to a gate that closes within words."""
    hold_s = float(np.exp(rng.uniform(np.log(EXPANDER_HOLD_S[0]), np.log(EXPANDER_HOLD_S[1]))))
    return Expander(float(rng.uniform(*EXPANDER_DB)), hold_s, float(rng.uniform(*EXPANDER_GAIN_DB)))


def draw_variations(rng: np.random.Generator, seed: int, split: str) -> tuple[Variation, ...]:
    """Draws one or two different variations, in the order in which they affect a recording.

    Args:
        rng: random generator.
        seed: seed of the set, which determines its rooms.
        split: split of the clip; no room is in two splits.
    """
    count = int(rng.integers(1, MAX_VARIATIONS + 1))
    names = set(rng.choice(list(WEIGHTS), size=count, replace=False, p=list(WEIGHTS.values())).tolist())
    variations: list[Variation] = []
    if "room" in names:
        rooms = bank(seed, split, SMALL_ROOM_RT60_S, CLOSE_M)
        variations.append(SmallRoom(rooms[rng.integers(len(rooms))]))
    if "microphone" in names:
        low_hz, high_hz = np.exp(rng.uniform(np.log((60.0, 5000.0)), np.log((250.0, 7800.0))))
        orders = rng.integers((1, 2), (4, 7))
        variations.append(Microphone(float(low_hz), int(orders[0]), float(high_hz), int(orders[1])))
    if "equalizer" in names:
        variations.append(draw_equalizer(rng, EQUALIZER_DB))
    if "silence" in names:
        variations.append(DigitalSilence(float(rng.uniform(*GATE_DB)), float(rng.uniform(*GATE_HOLD_S))))
    if "codec" in names:
        variations.append(GoodCodec(GOOD[rng.integers(len(GOOD))]))
    return tuple(variations)


def draw_equalizer(rng: np.random.Generator, max_gain_db: float) -> Equalizer:
    """Draws an equaliser whose gains are within ±`max_gain_db`."""
    return Equalizer(tuple(map(float, rng.uniform(-max_gain_db, max_gain_db, len(EQUALIZER_HZ)))))
