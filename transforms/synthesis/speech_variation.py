"""How clean recordings differ: voices, microphones, equalisers, good coding, small rooms, digital silence. Never noise.

A clip's speech is varied before anything is mixed to it, in the reference and in the degraded signal alike, so that none of
this costs it a point: a model that learns from such clips does not take a dull microphone for a fault.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np
import soxr
from scipy.ndimage import maximum_filter1d

from model.features import SAMPLE_RATE
from transforms.synthesis.codecs import GOOD, Coding, transcode
from transforms.synthesis.rooms import CLOSE_M, Room, bank, impulse_response, reverberate
from transforms.synthesis.spectral_filters import high_pass, low_pass, shape_spectrum

MOST_VARIATIONS = 2
# Played so many times as fast, or as slow, a voice is still one that somebody could have.
VOICE_SPEED = 1.2
# Points of an equaliser, in Hz, and how far it goes.
EQUALIZER_HZ = (100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
EQUALIZER_DB = 6.0
SMALL_ROOM_RT60_S = (0.08, 0.25)
# What a gate lets through, in dB under the loudest, and how long it takes to close.
GATE_BLOCK = round(0.005 * SAMPLE_RATE)
GATE_DB, GATE_HOLD_S = (-60.0, -35.0), (0.02, 0.2)
EXPANDER_DB, EXPANDER_HOLD_S, EXPANDER_GAIN_DB = (-50.0, -28.0), (0.002, 0.1), (-60.0, -10.0)
# Coding takes longer than all the rest, and is the rarest.
WEIGHTS = {"equalizer": 0.3, "microphone": 0.3, "room": 0.2, "silence": 0.13, "codec": 0.07}


class Variation(Protocol):
    """A way to vary clean speech, with all that was drawn for it."""

    @property
    def detail(self) -> str:
        """What it is, for people."""

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Varies samples [n] at 16 kHz, which stay as they are: float32 [n]."""


@dataclasses.dataclass(frozen=True, slots=True)
class Equalizer:
    """Gentle gains in dB at `EQUALIZER_HZ`, a straight line over the octaves between them."""

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
    """A microphone's ends: cuts in Hz and the orders (6 dB an octave each) of the slopes beyond them."""

    low_hz: float
    low_order: int
    high_hz: float
    high_order: int

    @property
    def detail(self) -> str:
        """Its band."""
        return f"microphone {self.low_hz:.0f} to {self.high_hz:.0f} Hz"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Rolls both ends off."""

        def gain(frequency: np.ndarray) -> np.ndarray:
            low = high_pass(frequency, self.low_hz, self.low_order)
            return low * low_pass(frequency, self.high_hz, self.high_order)

        return shape_spectrum(samples, gain)


@dataclasses.dataclass(frozen=True, slots=True)
class SmallRoom:
    """A small dry room, its speaker close to the microphone."""

    room: Room

    @property
    def detail(self) -> str:
        """The room."""
        return f"room {self.room}"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Puts the speech in the room."""
        return reverberate(samples, impulse_response(self.room))


@dataclasses.dataclass(frozen=True, slots=True)
class GoodCodec:
    """Coding of a rate at which it is hardly heard."""

    coding: Coding

    @property
    def detail(self) -> str:
        """The coding."""
        return f"codec {self.coding}"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Codes and decodes."""
        return transcode(samples, self.coding)


@dataclasses.dataclass(frozen=True, slots=True)
class DigitalSilence:
    """Pauses without a sound, as editors, gates and synthesisers leave them: no dropout, and nothing is lost by them.

    Attributes:
        threshold_db: what lies further under the loudest block of 5 ms is silenced.
        hold_s: time for which the gate stays open before and after what it lets through.
    """

    threshold_db: float
    hold_s: float

    @property
    def detail(self) -> str:
        """The gate."""
        return f"silence under {self.threshold_db:.0f} dB, held {1000 * self.hold_s:.0f} ms"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Silences the pauses, over ramps of 5 ms."""
        return _gated(samples, self.threshold_db, self.hold_s, 0.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Expander:
    """What is soft made softer, as recorders, conferences and broadcasters do, down into the gaps within words.

    Attributes:
        threshold_db: what lies further under the loudest block of 5 ms is lowered.
        hold_s: time for which it is left alone before and after what is louder.
        gain_db: by how much it is lowered.
    """

    threshold_db: float
    hold_s: float
    gain_db: float

    @property
    def detail(self) -> str:
        """What it does."""
        return f"expander {self.gain_db:.0f} dB under {self.threshold_db:.0f} dB, held {1000 * self.hold_s:.0f} ms"

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Lowers what is soft, over ramps of 5 ms."""
        return _gated(samples, self.threshold_db, self.hold_s, 10 ** (self.gain_db / 20))


def _gated(samples: np.ndarray, threshold_db: float, hold_s: float, closed: float) -> np.ndarray:
    """Samples [n] with the gain `closed` where they are so far under their loudest block, and 1 elsewhere."""
    count = -(-len(samples) // GATE_BLOCK)
    blocks = np.zeros(count * GATE_BLOCK, np.float32)
    blocks[: len(samples)] = samples
    levels = np.square(blocks.reshape(count, GATE_BLOCK)).mean(axis=1)
    hold = 2 * round(hold_s * SAMPLE_RATE / GATE_BLOCK) + 1
    heard = maximum_filter1d((levels > levels.max(initial=0.0) * 10 ** (threshold_db / 10)).astype(int), hold)
    edges = np.arange(count) * GATE_BLOCK + GATE_BLOCK / 2
    gain = np.interp(np.arange(len(samples)), edges, np.where(heard, 1.0, closed)) if count else np.empty(0)
    return (samples * gain).astype(np.float32)


def samples_needed(length: int, speed: float) -> int:
    """Samples from which `play` makes `length`."""
    return length if speed == 1.0 else math.ceil(length * speed) + 1


def play(samples: np.ndarray, speed: float, length: int) -> np.ndarray:
    """Plays samples so many times as fast; the pitch goes along.

    Args:
        samples: at 16 kHz, [m], `samples_needed` of them; fewer leave zeros at the end.
        speed: how many times as fast.
        length: samples of the result.

    Returns:
        float32 [length]
    """
    played = samples.astype(np.float32, copy=False)
    if speed != 1.0:
        played = soxr.resample(played, SAMPLE_RATE * speed, SAMPLE_RATE, quality="LQ")
    return np.pad(played, (0, max(0, length - len(played))))[:length]


def draw_speed(rng: np.random.Generator) -> float:
    """How many times as fast a voice is played: as often slower as faster, which makes another speaker of it."""
    return float(VOICE_SPEED ** rng.uniform(-1.0, 1.0))


def draw_expander(rng: np.random.Generator) -> Expander:
    """From a gentle one that lets go slowly to a gate that closes within words."""
    hold_s = float(np.exp(rng.uniform(np.log(EXPANDER_HOLD_S[0]), np.log(EXPANDER_HOLD_S[1]))))
    return Expander(float(rng.uniform(*EXPANDER_DB)), hold_s, float(rng.uniform(*EXPANDER_GAIN_DB)))


def draw_variations(rng: np.random.Generator, seed: int, split: str) -> tuple[Variation, ...]:
    """One or two different variations, in the order in which a recording meets them.

    Args:
        rng: draws them.
        seed: of the set: decides its bank of rooms.
        split: of the clip: no room is in two splits.
    """
    count = int(rng.integers(1, MOST_VARIATIONS + 1))
    names = set(rng.choice(list(WEIGHTS), size=count, replace=False, p=list(WEIGHTS.values())).tolist())
    found: list[Variation] = []
    if "room" in names:
        rooms = bank(seed, split, SMALL_ROOM_RT60_S, CLOSE_M)
        found.append(SmallRoom(rooms[rng.integers(len(rooms))]))
    if "microphone" in names:
        low_hz, high_hz = np.exp(rng.uniform(np.log((60.0, 5000.0)), np.log((250.0, 7800.0))))
        orders = rng.integers((1, 2), (4, 7))
        found.append(Microphone(float(low_hz), int(orders[0]), float(high_hz), int(orders[1])))
    if "equalizer" in names:
        found.append(draw_equalizer(rng, EQUALIZER_DB))
    if "silence" in names:
        found.append(DigitalSilence(float(rng.uniform(*GATE_DB)), float(rng.uniform(*GATE_HOLD_S))))
    if "codec" in names:
        found.append(GoodCodec(GOOD[rng.integers(len(GOOD))]))
    return tuple(found)


def draw_equalizer(rng: np.random.Generator, most_db: float) -> Equalizer:
    """Gains within so many dB either way."""
    return Equalizer(tuple(map(float, rng.uniform(-most_db, most_db, len(EQUALIZER_HZ)))))
