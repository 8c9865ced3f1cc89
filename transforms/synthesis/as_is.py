"""Clips that are unchanged parts of recordings, with all flaws of these.

Nothing is known about their flaws, so only teachers can label them (`teachers.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from model.features import SAMPLE_RATE
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.clip_plan import AS_IS, clip_id
from transforms.synthesis.flac import encode_flac
from transforms.synthesis.materials import Catalog, Material, read_samples


@dataclasses.dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a recording.

    Attributes:
        clip_id: id of the clip.
        seed: seed of the set.
        recording: the recording.
        offset: first sample, at 16 kHz.
        length: number of samples, at 16 kHz.
    """

    clip_id: str
    seed: int
    recording: Material
    offset: int
    length: int


def is_as_is(number: int, options: ClipOptions) -> bool:
    """Returns whether a clip is a part of a recording; drawn with the probability `as_is_ratio`."""
    return bool(_generator(number, options).random() < options.as_is_ratio)


def plan_excerpt(number: int, catalog: Catalog, options: ClipOptions) -> Excerpt:
    """Draws a speaker, one of their recordings, and a part of it.

    Raises:
        AudioFault: the catalog has no recordings.
    """
    if not catalog.recordings:
        detail = "there is no recording to draw from, because all of them were rejected"
        raise AudioFault(Stage.MIX, Reason.NO_MATERIAL, detail)
    rng = _generator(number, options)
    rng.random()  # the draw of `is_as_is`
    speaker = catalog.recordings[int(rng.integers(len(catalog.recordings)))]
    recording = speaker[int(rng.integers(len(speaker)))]
    length = min(recording.num_samples, round(rng.uniform(*options.duration_s) * SAMPLE_RATE))
    offset = int(rng.integers(recording.num_samples - length + 1))
    return Excerpt(clip_id(options.seed, number), options.seed, recording, offset, length)


def make_excerpt(excerpt: Excerpt) -> dict[str, Any]:
    """Returns the row of the training set (`schemas.CLIPS`) of a part of a recording, without ratings.

    `distortions` and all columns with a label or truth are null: they are unknown.

    Raises:
        AudioFault: the recording cannot be read, or its part is digital silence.
    """
    recording = excerpt.recording
    samples = read_samples(recording.ref)[excerpt.offset : excerpt.offset + excerpt.length]
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0:
        raise AudioFault(Stage.MIX, Reason.SILENT, "the drawn part of the recording is digital silence")
    return {
        "clip_id": excerpt.clip_id,
        "audio": encode_flac(samples),
        "duration_s": excerpt.length / SAMPLE_RATE,
        "distortions": None,
        "variation": [],
        "speech_id": recording.ref.utterance_id,
        "speaker": recording.group,
        "corpus": recording.ref.columns.get("corpus") or None,
        "noise_ids": [],
        "noise_groups": [],
        "peak_dbfs": 20 * float(np.log10(peak)),
        "split": recording.split,
        "seed": excerpt.seed,
    }


def _generator(number: int, options: ClipOptions) -> np.random.Generator:
    return np.random.default_rng([options.seed, number, AS_IS])
