"""From frame scores to the score of the utterance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.labels import PESQ_WB
from model.pooling import disturbance_of, disturbed, frame_truth, mos, pesq_norm, pool

frame_scores = st.lists(st.floats(1, 4.625, width=32), min_size=1, max_size=50)
lengths = st.integers(1, 120)
disturbances = lengths.flatmap(lambda n: arrays.arrays(np.float64, n, elements=st.floats(0, 6)))


@given(frame_scores)
def test_a_mean_score_is_the_mean_of_its_frames(scores: list[float]) -> None:
    pooled = pool(np.array(scores, np.float32))
    assert type(pooled) is float
    assert pooled == pytest.approx(sum(scores) / len(scores), rel=1e-6)


@given(frame_scores, st.sampled_from(["mean", "pesq"]))
def test_an_utterances_score_lies_between_those_of_its_frames(scores: list[float], pooling: str) -> None:
    assert min(scores) - 1e-3 <= pool(np.array(scores, np.float32), pooling) <= max(scores) + 1e-3


@given(st.floats(1.0, 4.625, width=32), lengths)
def test_what_is_like_one_frame_all_through_gets_the_score_of_that_frame(score: float, length: int) -> None:
    assert pool(np.full(length, score, np.float32), "pesq") == pytest.approx(max(score, 1.0), abs=2e-3)


def test_ten_hours_of_frames_lose_no_precision() -> None:
    assert pool(np.full(2_250_000, 3.3, np.float32)) == pytest.approx(np.float32(3.3), abs=1e-9)
    assert pool(np.full(2_250_000, 3.3, np.float32), "pesq") == pytest.approx(np.float32(3.3), abs=1e-6)


# PESQ's law.


def literal_norm(disturbance: list[float]) -> float:
    """The norms of P.862, transcribed; a window at the end holds the frames that there are."""
    windows = []
    for start in range(0, len(disturbance), 10):
        window = disturbance[start : start + 20]
        windows.append((sum(d**6 for d in window) / len(window)) ** (1 / 6))
    return (sum(w**2 for w in windows) / len(windows)) ** 0.5


@given(disturbances)
def test_the_norm_is_that_of_the_recommendation(disturbance: np.ndarray) -> None:
    assert pesq_norm(disturbance) == pytest.approx(literal_norm(disturbance.tolist()), rel=1e-9, abs=1e-12)


@given(disturbances, st.floats(0, 10))
def test_the_norm_grows_with_what_it_is_of(disturbance: np.ndarray, factor: float) -> None:
    assert pesq_norm(disturbance * factor) == pytest.approx(factor * pesq_norm(disturbance), rel=1e-9, abs=1e-9)


def test_a_short_bad_stretch_costs_more_than_its_share() -> None:
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
def test_the_mapping_turns_round(disturbance: float) -> None:
    assert float(disturbance_of(float(mos(disturbance)))) == pytest.approx(disturbance, abs=1e-3)


def test_the_best_score_is_of_no_disturbance() -> None:
    assert disturbance_of(np.array([5.0, PESQ_WB.high + 0.01])).tolist() == [0.0, 0.0]
    assert np.isfinite(disturbance_of(np.array([0.0, 0.999, 1.0]))).all()


# The truth of frames.


@given(disturbances, st.floats(1.05, 4.6))
def test_true_frame_scores_pool_to_the_true_score(disturbance: np.ndarray, score: float) -> None:
    # Under 6 points: beyond, float32 has too few digits left between the score and the lower end of the scale.
    found = pesq_norm(disturbed(disturbance * 4, disturbance * 3))
    wanted = float(disturbance_of(score))
    truth = frame_truth(disturbance * 4, disturbance * 3, score)
    assert truth.dtype == np.float32
    assert truth.shape == disturbance.shape
    if found > 0 and 0.5 <= wanted / found <= 2:
        assert pool(truth, "pesq") == pytest.approx(score, abs=5e-3)


@given(disturbances)
def test_a_far_label_changes_the_frames_by_a_bounded_factor(disturbance: np.ndarray) -> None:
    worst, best = (frame_truth(disturbance, disturbance, score) for score in (1.0, 4.64))
    found = disturbed(disturbance, disturbance)
    assert (worst >= mos(2 * found) - 1e-6).all()
    assert (best <= mos(found / 2) + 1e-6).all()


def test_an_undisturbed_recording_has_the_best_frames() -> None:
    assert frame_truth(np.zeros(30), np.zeros(30), 4.64) == pytest.approx(4.644, abs=1e-3)
