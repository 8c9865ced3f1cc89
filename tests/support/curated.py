"""Outputs of known utterances for tests of presets, by models with and without a diagnosis."""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.outputs import diagnosis_of, scored, write_output
from transforms.duplicates.fingerprint import FRAME_BITS
from transforms.elements import ScoredUtterance


def utterance(
    name: str,
    score: float = 4.2,
    duration_s: float = 4.0,
    *,
    heard: dict[str, Any] | None = None,
    diagnosed: bool = True,
    samples: str | None = None,
    **facts: Any,
) -> ScoredUtterance:
    """Clean speech with samples of its own.

    Args:
        name: id of the utterance.
        score: score of all frames.
        duration_s: length in seconds.
        heard: values and causes that the model hears, for `diagnosis_of`.
        diagnosed: whether the model has a diagnosis.
        samples: what stands for the samples; two utterances with the same are copies. By default the name.
        facts: signal facts that differ from those of clean speech.
    """
    made = scored(name, score, duration_s=duration_s, **{"active_s": 0.9 * duration_s, **facts})
    samples = samples or name
    random = np.random.default_rng(zlib.crc32(samples.encode()))
    frames, codes = np.sort(random.choice(230, 28, replace=False)), random.integers(0, 1 << 16, 28)
    changes = {"content_hash": samples, "fingerprint": tuple((codes << FRAME_BITS | frames).tolist())}
    item = dataclasses.replace(made.utterance, **changes)
    diagnosis = diagnosis_of(len(made.frame_score), **(heard or {})) if diagnosed else None
    return dataclasses.replace(made, utterance=item, diagnosis=diagnosis)


def whole(cause: str, duration_s: float = 4.0) -> dict[str, Any]:
    """A cause that the model hears in all frames."""
    return {"spans": {cause: [(0, round(duration_s * 63))]}}


def write_curated(root: Path, *, diagnosed: bool, **options: Any) -> Path:
    """Writes an output with clean, noisy, clipped and short speech."""
    items = [
        utterance("clean", diagnosed=diagnosed),
        utterance("noisy", 1.1, diagnosed=diagnosed, heard={"snr_db": -5.0, "mos_ovrl": 1.5}),
        utterance("clipped", diagnosed=diagnosed, clipped_ratio=0.1),
        utterance("short", duration_s=0.3, diagnosed=diagnosed),
        utterance("roomy", diagnosed=diagnosed, heard={"c50_db": -3.0, "mos_ovrl": 2.0}),
    ]
    return write_output(root, items, **options)
