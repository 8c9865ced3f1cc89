"""Pooling of frame scores into the score of an utterance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.labels import PESQ_WB
from model.pooling import combined_disturbance, disturbance_of, mos, pesq_norm, pool, true_frame_scores

frame_scores = st.lists(st.floats(1, 4.625, width=32), min_size=1, max_size=50)
lengths = st.integers(1, 120)
disturbances = lengths.flatmap(lambda n: arrays.arrays(np.float64, n, elements=st.floats(0, 6)))


@given(frame_scores)
def test_a_mean_score_is_the_mean_of_its_frames(scores: list[float]) -> None:
    pooled = pool(np.array(scores, np.float32))
    assert type(pooled) is float
    assert pooled == pytest.approx(sum(scores) / len(scores), rel=1e-6)


@given(frame_scores, st.sampled_from(["mean", "pesq"]))
def test_the_score_lies_between_the_lowest_and_the_highest_frame_score(scores: list[float], pooling: str) -> None:
    assert min(scores) - 1e-3 <= pool(np.array(scores, np.float32), pooling) <= max(scores) + 1e-3


@given(st.floats(1.0, 4.625, width=32), lengths)
def test_equal_frame_scores_pool_to_that_score(score: float, length: int) -> None:
    assert pool(np.full(length, score, np.float32), "pesq") == pytest.approx(max(score, 1.0), abs=2e-3)


def test_ten_hours_of_frames_are_pooled_precisely() -> None:
    assert pool(np.full(2_250_000, 3.3, np.float32)) == pytest.approx(np.float32(3.3), abs=1e-9)
    assert pool(np.full(2_250_000, 3.3, np.float32), "pesq") == pytest.approx(np.float32(3.3), abs=1e-6)


# The norms of PESQ.


def transcribed_norm(disturbance: list[float]) -> float:
    """Transcribes the norms of P.862. Windows at the end hold the remaining frames."""
    windows = []
    for start in range(0, len(disturbance), 10):
        window = disturbance[start : start + 20]
        windows.append((sum(d**6 for d in window) / len(window)) ** (1 / 6))
    return (sum(w**2 for w in windows) / len(windows)) ** 0.5


@given(disturbances)
def test_the_norm_equals_that_of_the_recommendation(disturbance: np.ndarray) -> None:
    assert pesq_norm(disturbance) == pytest.approx(transcribed_norm(disturbance.tolist()), rel=1e-9, abs=1e-12)


@given(disturbances, st.floats(0, 10))
def test_the_norm_is_proportional_to_the_disturbance(disturbance: np.ndarray, factor: float) -> None:
    assert pesq_norm(disturbance * factor) == pytest.approx(factor * pesq_norm(disturbance), rel=1e-9, abs=1e-9)


def test_a_short_bad_part_costs_more_than_its_share() -> None:
    disturbance = np.zeros(300)
    disturbance[100:110] = 3.0
    assert pesq_norm(disturbance) > 4 * disturbance.mean()


@pytest.mark.parametrize(("disturbance", "expected"), [(0.0, 4.644), (1.0, 3.893), (4.5, 1.085)])
def test_the_mapping_has_the_values_of_the_recommendation(disturbance: float, expected: float) -> None:
    # P.862.2: 0.999 + 4 / (1 + exp(-1.3669 x + 3.8224)) for x = 4.5, 3.5 and 0.
    assert mos(disturbance) == pytest.approx(expected, abs=1e-3)
    assert mos(disturbance) == pytest.approx(
        0.999 + 4 / (1 + np.exp(-1.3669 * (4.5 - disturbance) + 3.8224)), rel=1e-12
    )


@given(st.floats(0, 6))
def test_the_mapping_can_be_inverted(disturbance: float) -> None:
    assert float(disturbance_of(float(mos(disturbance)))) == pytest.approx(disturbance, abs=1e-3)


def test_the_best_score_has_no_disturbance() -> None:
    assert disturbance_of(np.array([5.0, PESQ_WB.high + 0.01])).tolist() == [0.0, 0.0]
    assert np.isfinite(disturbance_of(np.array([0.0, 0.999, 1.0]))).all()


# True scores of frames.


@given(disturbances, st.floats(1.05, 4.6))
def test_true_frame_scores_pool_to_the_true_score(disturbance: np.ndarray, score: float) -> None:
    # Disturbances below 6 points. Above, float32 cannot resolve the scores near the lower end of the scale.
    norm = pesq_norm(combined_disturbance(disturbance * 4, disturbance * 3))
    expected = float(disturbance_of(score))
    frames = true_frame_scores(disturbance * 4, disturbance * 3, score)
    assert frames.dtype == np.float32
    assert frames.shape == disturbance.shape
    if norm > 0 and 0.5 <= expected / norm <= 2:
        assert pool(frames, "pesq") == pytest.approx(score, abs=5e-3)


@given(disturbances)
def test_the_label_changes_the_frames_by_a_bounded_factor(disturbance: np.ndarray) -> None:
    worst, best = (true_frame_scores(disturbance, disturbance, score) for score in (1.0, 4.64))
    combined = combined_disturbance(disturbance, disturbance)
    assert (worst >= mos(2 * combined) - 1e-6).all()
    assert (best <= mos(combined / 2) + 1e-6).all()


def test_an_undisturbed_recording_has_the_best_frames() -> None:
    assert true_frame_scores(np.zeros(30), np.zeros(30), 4.64) == pytest.approx(4.644, abs=1e-3)
