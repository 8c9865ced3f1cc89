"""Conditions of clips, and the threshold between clean and degraded ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.evaluation.scored_clips import EvaluationError, Threshold, choose_threshold
from model.frame_truth import Distortion
from tests.support.training.scored_clips import clean_clip, clip

quick = settings(deadline=None, max_examples=100)


def test_the_threshold_lies_midway_between_classes_that_are_apart() -> None:
    found = choose_threshold(np.array([False, True, True, False]), np.array([1.0, 4.0, 3.5, 2.5]))
    assert found == Threshold(3.0, 1.0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=30))
@quick
def test_no_threshold_has_a_better_f1_than_the_chosen_one(rows: list[tuple[bool, int]]) -> None:
    clean, score = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], float)
    if not clean.any() or clean.all():
        with pytest.raises(EvaluationError, match="needs both clean and degraded clips"):
            choose_threshold(clean, score)
        return

    def f1(threshold: float) -> float:
        kept = score >= threshold
        return 2 * (kept & clean).sum() / (kept.sum() + clean.sum())

    found = choose_threshold(clean, score)
    assert f1(found.value) == pytest.approx(found.f1)
    assert found.f1 == pytest.approx(max(f1(threshold) for threshold in range(10)))


@pytest.mark.parametrize(
    ("facts", "band"),
    [
        ({"snr_db": -5.0}, "-5 dB"),
        ({"snr_db": 2.4}, "0 dB"),
        ({"snr_db": 2.5}, "5 dB"),
        ({"snr_db": -2.6}, "-5 dB"),
        ({"snr_db": None}, "no noise, faults"),
        ({"snr_db": None, "distortions": ()}, "clean"),
        ({"snr_db": None, "distortions": (), "known": False}, "unknown"),
    ],
)
def test_a_clip_stands_in_the_5_db_band_of_its_snr(facts: dict, band: str) -> None:
    assert clip(0, **facts).conditions("snr") == [band]


def test_a_clip_belongs_to_all_its_groups_and_faults() -> None:
    spans = [Distortion(kind, "", 0.0, 1.0) for kind in ("noise", "clipping", "dropout", "clipping")]
    found = clip(0, distortions=tuple(spans), noise_groups=("wind", "rain", "rain"), variation=("room 0.2 s", "codec"))
    assert found.conditions("fault") == ["clipping", "dropout"]
    assert found.conditions("noise_group") == ["rain", "wind"]
    assert found.conditions("variation") == ["codec", "room"]
    assert clean_clip(0).conditions("variation") == ["none"]
    assert clean_clip(0, corpus=None).conditions("corpus") == ["unknown"]
    assert clean_clip(0).conditions("fault") == []


def test_clips_without_speech_are_resampled_with_those_of_the_same_sound() -> None:
    music = Distortion("music", "music/a/1.flac", 0.0, 4.0)
    alone = {"speaker": "", "speech": (), "snr_db": None}
    names = [
        clip(0, speaker="anna").resampled_with,
        clip(1, **alone, noise_groups=("rain",)).resampled_with,
        clip(2, **alone, noise_groups=(), distortions=(music,)).resampled_with,
        clip(3, **alone, noise_groups=(), distortions=()).resampled_with,
    ]
    assert names == ["anna", "rain", "music/a/1.flac", "1-00000003"]
