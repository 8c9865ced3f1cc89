"""Order of scores along a ladder of SNRs."""

from __future__ import annotations

import pytest

from model.evaluation.bootstrap import Resamples
from model.evaluation.ladder import ladder_steps, measure_ladder
from model.evaluation.scored_clips import EvaluationError, ScoredClips
from tests.support.training.scored_clips import clean_clip, clip, scored


def ladder_of(scores: dict[float | None, list[float]]) -> ScoredClips:
    clips, score = [], []
    for snr_db, column in scores.items():
        for n, value in enumerate(column):
            make = clean_clip(n) if snr_db is None else clip(n, snr_db=snr_db)
            clips.append(make)
            score.append(value)
    return scored(clips, score)


def test_a_ladder_counts_the_steps_on_which_the_score_rises() -> None:
    rungs = {0.0: [1, 1, 1, 1], 5.0: [2, 2, 2, 0], 10.0: [3, 3, 1, 1], 20.0: [4, 4, 4, 4], None: [5, 5, 5, 4]}
    found = measure_ladder(ladder_of(rungs), Resamples(["a", "b", "c", "d"] * 5, 20, 0))
    assert [(rung["snr"], rung["clips"], rung["score_mean"]) for rung in found["rungs"]] == [
        ("0 dB", 4, 1.0),
        ("5 dB", 4, 1.5),
        ("10 dB", 4, 2.0),
        ("20 dB", 4, 4.0),
        ("clean", 4, 4.75),
    ]
    assert [(step["from"], step["to"], step["rose"].value) for step in found["steps"]] == [
        ("0 dB", "5 dB", 0.75),
        ("5 dB", "10 dB", 0.75),
        ("10 dB", "20 dB", 1.0),
        ("20 dB", "clean", 0.75),
    ]
    assert found["steps_of_5db"] == 8
    assert found["rose_5db"].value == 0.75


def test_clips_pair_by_id_and_speech_and_only_with_their_neighbour() -> None:
    clips = [clip(1, snr_db=0.0), clip(1, snr_db=10.0), clip(2, snr_db=0.0), clip(2, snr_db=5.0)]
    clips += [clip(3, snr_db=0.0), clip(3, snr_db=5.0, speech_id="another")]
    clips += [clip(4, snr_db=None, speech_id="faults only")]
    # Clip 1 skips a rung that others have; clip 3 is not the same speech.
    assert [(step.low, step.high) for step in ladder_steps(clips)] == [(2, 3)]


def test_sets_without_common_clips_are_no_ladder() -> None:
    with pytest.raises(EvaluationError, match="same --seed"):
        ladder_steps([clip(1, snr_db=0.0), clip(2, snr_db=5.0)])
