"""Utterances with speech and pauses, scored without a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.support.outputs import diagnosis_of, scored
from transforms.audio.signal_facts import facts_of
from transforms.elements import ScoredUtterance

# Speech and pauses of a talk of 69.9 s, in frames: 5.6, 0.8, 8, 1.6, 12.8, 0.48, 9.6, 2.08, 1.6, 4 and 23.36 s.
TALK = [(350, 50), (500, 100), (800, 30), (600, 130), (100, 250), (1_460, 0)]


def talk(
    utterance_id: str,
    runs: Sequence[tuple[int, int]] = TALK,
    *,
    bad: Sequence[tuple[int, int]] = (),
    bad_score: float = 1.2,
    hears: bool = False,
    causes: dict[str, Sequence[tuple[int, int]]] | None = None,
    **options: Any,
) -> ScoredUtterance:
    """An utterance of good speech with pauses.

    Args:
        utterance_id: its id.
        runs: lengths of speech and of the pause after it, in frames.
        bad: first frame and end of stretches with low frame scores.
        bad_score: frame scores of these stretches.
        hears: whether the model has a diagnosis; then only the model knows the pauses, and no level does.
        causes: first frame and end of the parts with a cause, by cause; needs `hears`.
        options: further arguments of `outputs.scored`.
    """
    speech = np.concatenate([np.repeat([True, False], run) for run in runs])
    scores = np.full(len(speech), 4.0, np.float32)
    for start, end in bad:
        scores[start:end] = bad_score
    if hears:
        diagnosis = diagnosis_of(len(speech), spans=causes)
        diagnosis.values[~speech, 0] = 0.2
        return scored(utterance_id, scores, diagnosis=diagnosis, **options)
    item = scored(utterance_id, scores, **options)
    frames = item.utterance.frame_facts
    level_dbfs = np.where(speech, frames.level_dbfs, -75).astype(np.float32)
    frames = dataclasses.replace(frames, level_dbfs=level_dbfs, peak_dbfs=level_dbfs + 12)
    facts = facts_of(frames, dc_offset=0.0, hum_dbfs=None, clipped_per_frame=0.0)
    return dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, frame_facts=frames, facts=facts))
