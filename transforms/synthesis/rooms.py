"""Rooms: impulse responses, simulated or recorded, and speech that is heard in them."""

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

# Different rooms of each kind in a split: enough to learn none by heart, and each is simulated once a process.
BANK_ROOMS = 100
# How long image sources are followed, and over which end of that time noise takes their place.
EARLY_S, SEAM_S = 0.08, 0.02
# A source this close to the microphone, in m.
CLOSE_M, FAR_M = (0.15, 0.4), (0.5, 3.0)
# RT60 in s within which `draw_room` has walls that Sabine's formula allows.
SHORTEST_RT60_S, LONGEST_RT60_S = 0.08, 2.0
# The direct sound is the first that comes within 6 dB of the strongest; its peak comes within 1 ms.
_ONSET, _ONSET_SAMPLES = 0.5, SAMPLE_RATE // 1_000


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """A box with one source and one microphone in it.

    Attributes:
        size_m: length, width and height.
        source_m: where the source is.
        microphone_m: where the microphone is.
        rt60_s: after which reverberation is 60 dB down, by Sabine's formula.
    """

    size_m: tuple[float, float, float]
    source_m: tuple[float, float, float]
    microphone_m: tuple[float, float, float]
    rt60_s: float

    def __str__(self) -> str:
        return f"RT60 {self.rt60_s:.2f} s, {math.dist(self.source_m, self.microphone_m):.1f} m away"


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedRoom:
    """An impulse response from a file."""

    ref: AudioRef

    def __str__(self) -> str:
        return self.ref.utterance_id


def simulation_installed() -> bool:
    """Whether the extra that simulates rooms is there."""
    return importlib.util.find_spec("pyroomacoustics") is not None


def draw_room(rng: np.random.Generator, rt60_s: float, distance_m: tuple[float, float]) -> Room:
    """A room of a size that goes with its reverberation.

    Args:
        rng: draws it.
        rt60_s: 0.08 to 2.
        distance_m: nearest and farthest that the source is from the microphone; as far as the room allows.
    """
    length, width = (rng.uniform(2.2 + 2.0 * rt60_s, 2.4 + 8.0 * rt60_s) for _ in range(2))
    size = np.array([length, width, rng.uniform(2.2 + 0.8 * rt60_s, 2.4 + 2.0 * rt60_s)])
    microphone = rng.uniform(0.2, 0.8, 3) * size
    # Towards the middle of the floor there is at least half of the room; people's heads are at much the same height.
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
    """The rooms that the clips of a split are heard in: `BANK_ROOMS`, RT60s spread evenly over their range."""
    rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
    edges = np.linspace(*rt60_s, BANK_ROOMS + 1)
    return tuple(draw_room(rng, rng.uniform(*edges[i : i + 2]), distance_m) for i in range(BANK_ROOMS))


def impulse_response(room: Room | RecordedRoom) -> np.ndarray:
    """How a room answers an impulse: float32 [m], 16 kHz. Simulated ones are kept, and so are files (`read_samples`).

    Raises:
        AudioFault: the file cannot be read.
    """
    return read_samples(room.ref) if isinstance(room, RecordedRoom) else _simulate(room)


@functools.lru_cache(maxsize=4 * BANK_ROOMS)
def _simulate(room: Room) -> np.ndarray:
    """Image sources for what comes early, noise that dies away for the rest.

    All images of the first 80 ms cost a few ms; those of a second would cost many seconds, and of a box with flat walls
    they make flutter that no furnished room has. Late reverberation is Gaussian noise under an exponential (Moorer,
    Computer Music Journal 3(2), 1979), here at the level that the images have just before it takes over.
    """
    # An extra: not there where nothing is ever synthesised.
    import pyroomacoustics

    # The sum's order, and with it the last bit, would depend on the threads.
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
    """An impulse response [n] of which all is there for `EARLY_S` after the direct sound, continued until it is 60 dB down."""
    seam = direct_sound(early) + round(EARLY_S * SAMPLE_RATE)
    early = np.pad(early, (0, max(0, seam - len(early))))[:seam]
    seconds = np.arange(max(len(early), round(rt60_s * SAMPLE_RATE))) / SAMPLE_RATE
    decay = 10 ** (-3 * seconds / rt60_s)
    before = slice(seam - round(SEAM_S * SAMPLE_RATE), seam)
    level = math.sqrt(np.sum(np.square(early[before])) / np.sum(np.square(decay[before])))
    # One noise for all rooms would do as well: what differs is how fast it dies away.
    tail = level * decay * np.random.default_rng(len(seconds)).normal(size=len(seconds))
    share = np.clip((np.arange(len(seconds)) - before.start) / (seam - before.start), 0.0, 1.0)
    # Powers add up across the seam.
    tail *= np.sqrt(share)
    tail[:seam] += early * np.sqrt(1 - share[:seam])
    return tail


def direct_sound(response: np.ndarray) -> int:
    """The sample of an impulse response at which the direct sound is: the peak of the first strong arrival."""
    size = np.abs(response)
    first = int(np.argmax(size >= _ONSET * size.max()))
    return first + int(np.argmax(size[first : first + _ONSET_SAMPLES]))


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """What is heard in a room: the direct sound stays where the samples are, and the level stays what it is.

    Args:
        samples: float [n].
        response: impulse response, float [m].

    Returns:
        float32 [n] of the same power as the samples; what would still sound after the end is cut.
    """
    direct = direct_sound(response)
    heard = fftconvolve(samples.astype(np.float32, copy=False), response)[direct : direct + len(samples)]
    before, after = (float(np.mean(np.square(signal, dtype=np.float64))) for signal in (samples, heard))
    return heard * np.float32(math.sqrt(before / after)) if after > 0.0 else samples.astype(np.float32, copy=False)
