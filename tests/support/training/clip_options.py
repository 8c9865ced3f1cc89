"""Options of training clips, and their samples."""

from __future__ import annotations

import dataclasses
import io

import numpy as np

from model.labels import PSEUDO
from transforms.audio.decode import decode
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.degradations.kinds import parse_degradations

OPTIONS = ClipOptions(
    seed=7,
    snr_db=((-5.0, 5.0), (20.0, 20.0)),
    clean_ratio=0.25,
    duration_s=(1.0, 2.0),
    peak_dbfs=(-12.0, -3.0),
    labels=(PSEUDO,),
)
# Options with everything that can happen to a clip of speech and noise.
ALL_OPTIONS = dataclasses.replace(
    OPTIONS,
    noises=(1, 3),
    partial_ratio=0.5,
    partial_s=(0.3, 0.6),
    variation_ratio=0.5,
    speed_ratio=0.5,
    expander_ratio=0.3,
    degradation_ratio=0.5,
    max_degradations=3,
    degradations=parse_degradations("all"),
)
# The same with music, second voices, clips without speech and degradations of parts.
RICH_OPTIONS = dataclasses.replace(
    ALL_OPTIONS,
    music_ratio=0.5,
    second_voice_ratio=0.5,
    no_speech_ratio=0.4,
    partial_degradation_ratio=0.5,
)


def options(*labels, **changes) -> ClipOptions:
    """Options to make a planned clip."""
    return dataclasses.replace(OPTIONS, labels=labels or (PSEUDO,), **changes)


def samples_of(row: dict, column: str = "audio") -> np.ndarray:
    return decode(io.BytesIO(row[column]), keep_dc=True).samples
