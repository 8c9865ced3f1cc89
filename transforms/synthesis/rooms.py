"""Rooms: their impulse responses, simulated or recorded, and the reverberation of speech."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
import zlib

import numpy as np
from scipy.signal import fftconvolve

from model.features import SAMPLE_RATE
from transforms.elements import AudioRef
from transforms.synthesis.materials import read_samples

# Number of rooms of each kind in a split. A network memorised 100: its error of C50 was half of that in other rooms.
BANK_ROOMS = 2_000
# Impulse responses that a process keeps. Simulating one takes a few ms.
KEPT_RESPONSES = 400
# Length in seconds of the early part from image sources, and of the cross-fade with noise at its end.
EARLY_S, SEAM_S = 0.08, 0.02
# Distances of the source from the microphone, in m.
CLOSE_M, FAR_M = (0.15, 0.4), (0.5, 3.0)
# The early part of C50 in seconds, and the largest C50 that is told from one without reverberation, in dB.
CLARITY_S, MAX_CLARITY_DB = 0.05, 60.0
# Range of RT60 in s for which Sabine's formula gives possible walls in the rooms of `draw_room`.
MIN_RT60_S, MAX_RT60_S = 0.08, 2.0
# The direct sound is the first arrival within 6 dB of the strongest; its peak follows within 1 ms.
_ONSET, _ONSET_SAMPLES = 0.5, SAMPLE_RATE // 1_000


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """A rectangular room with a source and a microphone.

    Attributes:
        size_m: length, width and height in m.
        source_m: position of the source in m.
        microphone_m: position of the microphone in m.
        rt60_s: reverberation time (decay by 60 dB) in seconds, by Sabine's formula.
    """

    size_m: tuple[float, float, float]
    source_m: tuple[float, float, float]
    microphone_m: tuple[float, float, float]
    rt60_s: float

    def __str__(self) -> str:
        return f"RT60 {self.rt60_s:.2f} s, {math.dist(self.source_m, self.microphone_m):.1f} m away"


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedRoom:
    """A room whose impulse response is in a file."""

    ref: AudioRef

    def __str__(self) -> str:
        return self.ref.utterance_id


def simulation_installed() -> bool:
    """Returns whether the optional package that simulates rooms is installed."""
    return importlib.util.find_spec("pyroomacoustics") is not None


def draw_room(rng: np.random.Generator, rt60_s: float, distance_m: tuple[float, float]) -> Room:
    """Draws a room whose size suits its reverberation time.

    Args:
        rng: random generator.
        rt60_s: reverberation time in seconds, 0.08 to 2.
        distance_m: smallest and largest distance of the source from the microphone in m; small rooms reduce it.
    """
    length, width = (rng.uniform(2.2 + 2.0 * rt60_s, 2.4 + 8.0 * rt60_s) for _ in range(2))
    size = np.array([length, width, rng.uniform(2.2 + 0.8 * rt60_s, 2.4 + 2.0 * rt60_s)])
    microphone = rng.uniform(0.2, 0.8, 3) * size
    # The source is on the side of the room's middle, where there is more space. Heads are at similar heights.
    direction = np.abs(rng.normal(size=3)) * np.where(microphone < size / 2, 1.0, -1.0) * (1.0, 1.0, 0.3)
    direction /= np.linalg.norm(direction)
    distance = min(rng.uniform(*distance_m), 0.4 * size[:2].min())
    source = np.clip(microphone + distance * direction, 0.1 * size, 0.9 * size)
    return Room(_point(size), _point(source), _point(microphone), float(rt60_s))


def _point(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


@functools.lru_cache(maxsize=256)
def bank(seed: int, split: str, rt60_s: tuple[float, float], distance_m: tuple[float, float]) -> tuple[Room, ...]:
    """Returns the `BANK_ROOMS` rooms of a split, whose RT60 are spread evenly over their range.

    Args:
        seed: seed of the set.
        split: name of the split. No room is in two splits.
        rt60_s: shortest and longest RT60 in seconds, within `MIN_RT60_S` and `MAX_RT60_S`.
        distance_m: shortest and longest distance of the source from the microphone in m.
    """
    rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
    edges = np.linspace(*rt60_s, BANK_ROOMS + 1)
    return tuple(draw_room(rng, rng.uniform(*edges[i : i + 2]), distance_m) for i in range(BANK_ROOMS))


def impulse_response(room: Room | RecordedRoom) -> np.ndarray:
    """Returns the impulse response of a room: float32 [m], 16 kHz. Both kinds are cached.

    Raises:
        AudioFault: the file of a recorded room cannot be read.
    """
    return read_samples(room.ref) if isinstance(room, RecordedRoom) else simulate(room)


@functools.lru_cache(maxsize=KEPT_RESPONSES)
def simulate(room: Room) -> np.ndarray:
    """Simulates an impulse response: the early part by image sources, and the rest by decaying noise.

    The images of the first 80 ms take a few ms to compute. Those of a whole second would take many seconds, and their flat
    walls cause a flutter that furnished rooms do not have. Late reverberation is Gaussian noise with an exponential decay
    (Moorer, Computer Music Journal 3(2), 1979), at the level of the images just before it.

    Returns:
        The response at 16 kHz, until it has decayed by 60 dB: float32 [m], read-only.
    """
    # An optional package that only synthesis needs.
    import pyroomacoustics

    # More threads would change the order of the sum, and thus its last bit.
    pyroomacoustics.constants.set("num_threads", 1)
    absorption, _ = pyroomacoustics.inverse_sabine(room.rt60_s, room.size_m)
    order = math.ceil(pyroomacoustics.constants.get("c") * EARLY_S / min(room.size_m))
    box = pyroomacoustics.ShoeBox(
        room.size_m, fs=SAMPLE_RATE, materials=pyroomacoustics.Material(absorption), max_order=order
    )
    box.add_source(room.source_m)
    box.add_microphone(room.microphone_m)
    box.compute_rir()
    response = _with_tail(box.rir[0][0], room.rt60_s).astype(np.float32)
    response.flags.writeable = False
    return response


def _with_tail(early: np.ndarray, rt60_s: float) -> np.ndarray:
    """Continues an impulse response [n] from `EARLY_S` after the direct sound until it has decayed by 60 dB."""
    seam = direct_sound(early) + round(EARLY_S * SAMPLE_RATE)
    early = np.pad(early, (0, max(0, seam - len(early))))[:seam]
    seconds = np.arange(max(len(early), round(rt60_s * SAMPLE_RATE))) / SAMPLE_RATE
    decay = 10 ** (-3 * seconds / rt60_s)
    before = slice(seam - round(SEAM_S * SAMPLE_RATE), seam)
    level = math.sqrt(np.sum(np.square(early[before])) / np.sum(np.square(decay[before])))
    # Rooms may share a seed, because they differ in the decay.
    tail = level * decay * np.random.default_rng(len(seconds)).normal(size=len(seconds))
    share = np.clip((np.arange(len(seconds)) - before.start) / (seam - before.start), 0.0, 1.0)
    # An equal-power cross-fade.
    tail *= np.sqrt(share)
    tail[:seam] += early * np.sqrt(1 - share[:seam])
    return tail


def direct_sound(response: np.ndarray) -> int:
    """Returns the sample of the direct sound in an impulse response, float [m]: the peak of the first strong arrival."""
    size = np.abs(response)
    first = int(np.argmax(size >= _ONSET * size.max()))
    return first + int(np.argmax(size[first : first + _ONSET_SAMPLES]))


def clarity_db(response: np.ndarray) -> float:
    """Returns the clarity index C50 (ISO 3382-1) of an impulse response [n] in dB, at most `MAX_CLARITY_DB`.

    It is the ratio of the energy up to 50 ms after the direct sound to the energy after that.
    """
    energy = np.square(response, dtype=np.float64)
    border = direct_sound(response) + round(CLARITY_S * SAMPLE_RATE)
    early, late = energy[:border].sum(), energy[border:].sum()
    return float(10 * np.log10(early / max(late, early / 10 ** (MAX_CLARITY_DB / 10))))


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Adds the reverberation of a room. The direct sound keeps its position, and the signal its level.

    Args:
        samples: speech: float [n].
        response: impulse response of the room: float [m].

    Returns:
        Reverberant speech of the same power: float32 [n]. The decay after the end is cut off.
    """
    direct = direct_sound(response)
    reverberant = fftconvolve(samples.astype(np.float32, copy=False), response)[direct : direct + len(samples)]
    before, after = (float(np.mean(np.square(signal, dtype=np.float64))) for signal in (samples, reverberant))
    return (
        reverberant * np.float32(math.sqrt(before / after)) if after > 0.0 else samples.astype(np.float32, copy=False)
    )
