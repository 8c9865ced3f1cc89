"""Mixes speech with noise, for training and for the test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from model.features import SAMPLE_RATE
from model.local_files import atomic_path
from tests.benchmarks.downstream.pool import clip_path, materials
from tests.benchmarks.downstream.selection import Piece
from transforms.synthesis.materials import NOISE, SPEECH, Material, read_samples

BATCH, CROP = 16, 3 * SAMPLE_RATE
TRAIN_SNR_DB, TEST_SNR_DB = (-5.0, 20.0), (0.0, 15.0)
# The cleanest speech of the split val, and the length of a test clip in seconds.
TEST_DYNAMIC_RANGE_DB, TEST_S = 42.0, (4.0, 8.0)
TEST_SEED = 2
# A signal with less power is silent.
SILENT = 1e-10
PEAK = 0.9


@dataclasses.dataclass(frozen=True, eq=False)
class NoisyClip:
    """A mixture to enhance.

    Attributes:
        speaker: speaker of the speech.
        clean: speech: float32 [n], 16 kHz.
        noisy: speech with noise: float32 [n].
    """

    speaker: str
    clean: np.ndarray
    noisy: np.ndarray


def power(samples: np.ndarray) -> float:
    """Returns the mean power, at least `SILENT`."""
    return max(float(np.mean(np.square(samples, dtype=np.float64))), SILENT)


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Returns speech with noise of the same length at an SNR: float32 [n]."""
    gain = math.sqrt(power(speech) / power(noise) / 10 ** (snr_db / 10))
    return (speech + gain * noise).astype(np.float32)


def long_signal(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns all parts one after the other, each at the same power: float32 [n]."""
    return np.concatenate([part / math.sqrt(power(part)) for part in parts]).astype(np.float32)


def read_arm(pool: Path, pieces: Sequence[Piece]) -> np.ndarray:
    """Returns the speech of an arm as one long signal."""
    parts = []
    for piece in pieces:
        samples = soundfile.read(clip_path(pool, piece.clip_id), dtype="float32")[0]
        part = samples[round(piece.start_s * SAMPLE_RATE) : round(piece.end_s * SAMPLE_RATE)]
        if len(part):
            parts.append(part)
    return long_signal(parts)


def write_training_noise(manifest: str, path: Path) -> None:
    """Writes all noise of the split train as one long signal, if the file is not there yet."""
    if not path.exists():
        noise = [read_samples(item.ref) for item in materials(manifest, NOISE, "train", -math.inf)]
        with atomic_path(path) as draft:
            np.save(draft, long_signal(noise).astype(np.float16))


def draw_batch(speech: np.ndarray, noise: np.ndarray, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mixtures and the targets of a training step: float32 [16, 48000] each.

    Noise, SNRs and the places in the speech depend on the seed and the step only. So all arms have the same noise.

    Args:
        speech: speech of an arm, longer than a crop.
        noise: all noise for training, longer than a crop.
        seed: seed of the training.
        step: number of the step.
    """
    rng = np.random.default_rng([seed, 1, step])
    mixtures, targets = np.empty((BATCH, CROP), np.float32), np.empty((BATCH, CROP), np.float32)
    for row in range(BATCH):
        in_speech, in_noise, snr = rng.random(), rng.random(), rng.uniform(*TRAIN_SNR_DB)
        target, added = _crop(speech, in_speech), _crop(noise, in_noise).astype(np.float32)
        mixture = mix(target, added, snr)
        scale = 1 / math.sqrt(power(mixture))
        mixtures[row], targets[row] = mixture * scale, target * scale
    return mixtures, targets


def _crop(samples: np.ndarray, place: float) -> np.ndarray:
    """Returns a crop at a place from 0, the start, to 1."""
    start = int(place * (len(samples) - CROP))
    return samples[start : start + CROP]


def mix_test(manifest: str, count: int) -> list[NoisyClip]:
    """Returns mixtures of the cleanest speech of the split val with its noise, the speakers in turn."""
    speakers: dict[str, list[Material]] = {}
    for item in materials(manifest, SPEECH, "val", TEST_DYNAMIC_RANGE_DB):
        if item.num_samples >= TEST_S[0] * SAMPLE_RATE:
            speakers.setdefault(item.group, []).append(item)
    noises: dict[str, list[Material]] = {}
    for item in materials(manifest, NOISE, "val", -math.inf):
        noises.setdefault(item.group, []).append(item)
    rng = np.random.default_rng(TEST_SEED)
    clips = []
    for number in range(count):
        speaker = sorted(speakers)[number % len(speakers)]
        recordings = speakers[speaker]
        speech = read_samples(recordings[number // len(speakers) % len(recordings)].ref)
        speech = speech[: int(TEST_S[1] * SAMPLE_RATE)]
        group = noises[sorted(noises)[rng.integers(len(noises))]]
        noise = read_samples(group[rng.integers(len(group))].ref)
        noise = np.resize(np.roll(noise, -int(rng.integers(len(noise)))), len(speech))
        noisy = mix(speech, noise, rng.uniform(*TEST_SNR_DB))
        scale = PEAK / max(float(np.abs(noisy).max()), float(np.abs(speech).max()))
        clips.append(NoisyClip(speaker, speech * np.float32(scale), noisy * np.float32(scale)))
    return clips
