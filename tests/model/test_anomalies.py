"""Anomalies: which dips are found, which are not, and the properties of every result."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.anomalies import find_anomalies

SPAN = 3.64
FRAME_S = 0.016
quick = settings(deadline=None, max_examples=100)


def with_dips(num_frames: int, *dips: tuple[int, int, float], level: float = 4.0, noise: float = 0.0) -> np.ndarray:
    """Makes frame scores at `level` with dips (start, end, score)."""
    scores = np.full(num_frames, level, np.float32)
    for start, end, score in dips:
        scores[start:end] = score
    return scores + np.random.default_rng(0).normal(0, noise or 1e-9, num_frames).astype(np.float32)


@st.composite
def piecewise(draw: st.DrawFn) -> np.ndarray:
    """Makes frame scores of parts with different quality, some with jitter."""
    quality = st.sampled_from([4.2, 4.0]) | st.floats(1, 4.5)
    parts = draw(st.lists(st.tuples(st.integers(1, 120), quality), min_size=1, max_size=12))
    scores = np.concatenate([np.full(length, score) for length, score in parts])
    jitter = draw(st.sampled_from([0.0, 0.1, 0.8]))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    return (scores + rng.normal(0, 1, len(scores)) * jitter).astype(np.float32)


# Dips that are anomalies.


def test_a_dip_of_1_s_is_found_at_its_position() -> None:
    (anomaly,) = find_anomalies(with_dips(625, (300, 362, 1.5), noise=0.1), SPAN)
    assert anomaly.start_s == pytest.approx(300 * FRAME_S, abs=3 * FRAME_S)
    assert anomaly.end_s == pytest.approx(361 * FRAME_S + 0.032, abs=3 * FRAME_S)
    assert anomaly.mean_score == pytest.approx(1.5, abs=0.1)
    assert 1.0 < anomaly.min_score < 1.5


def test_an_anomaly_lasts_from_the_start_of_its_first_frame_to_the_end_of_its_last() -> None:
    (anomaly,) = find_anomalies(with_dips(625, (300, 362, 1.5)), SPAN)
    assert anomaly.start_s == pytest.approx(300 * 256 / 16_000)
    assert anomaly.end_s == pytest.approx((361 * 256 + 512) / 16_000)


def test_two_dips_are_two_anomalies_in_order() -> None:
    anomalies = find_anomalies(with_dips(625, (400, 450, 2.0), (100, 150, 1.0)), SPAN)
    assert [round(a.start_s / FRAME_S) for a in anomalies] == [100, 400]
    assert [a.mean_score for a in anomalies] == pytest.approx([1.0, 2.0], abs=1e-6)


@pytest.mark.parametrize(("start", "end"), [(0, 40), (585, 625)])
def test_a_dip_at_an_end_of_the_utterance_is_found(start: int, end: int) -> None:
    (anomaly,) = find_anomalies(with_dips(625, (start, end, 1.0)), SPAN)
    assert anomaly.start_s == pytest.approx(start * FRAME_S)
    assert anomaly.end_s == pytest.approx((end - 1) * FRAME_S + 0.032)


def test_the_scores_of_an_anomaly_are_those_of_its_frames_before_smoothing() -> None:
    scores = with_dips(625, (300, 362, 2.0))
    scores[330] = 1.0
    (anomaly,) = find_anomalies(scores, SPAN)
    assert anomaly.min_score == 1.0
    assert anomaly.mean_score == pytest.approx(2.0 - 1.0 / 62)


def test_a_click_within_a_dip_does_not_split_it() -> None:
    scores = with_dips(625, (300, 362, 1.5))
    scores[330:333] = 4.0
    assert len(find_anomalies(scores, SPAN)) == 1


def test_a_flickering_dip_is_found_by_its_smoothed_scores() -> None:
    scores = with_dips(625, (300, 362, 1.0))
    scores[302:362:5] = 4.0
    assert len(find_anomalies(scores, SPAN)) == 1


def test_dips_less_than_25_frames_apart_are_one_anomaly() -> None:
    (anomaly,) = find_anomalies(with_dips(625, (300, 330, 1.0), (354, 380, 1.0)), SPAN)
    assert anomaly.start_s == pytest.approx(300 * FRAME_S)
    assert anomaly.end_s == pytest.approx(379 * FRAME_S + 0.032)
    assert anomaly.mean_score == pytest.approx((56 * 1.0 + 24 * 4.0) / 80)
    apart = find_anomalies(with_dips(625, (300, 330, 1.0), (355, 380, 1.0)), SPAN)
    assert [round(a.start_s / FRAME_S) for a in apart] == [300, 355]


def test_short_dips_are_one_anomaly_if_they_are_close_together() -> None:
    close, far = (
        [(start, start + 9, 1.0) for start in range(200, 400, step)]
        for step in (20, 40)  # 11 and 31 frames between them
    )
    assert len(find_anomalies(with_dips(1250, *close), SPAN)) == 1
    assert find_anomalies(with_dips(1250, *far), SPAN) == []


def test_a_dip_of_20_frames_is_found_and_one_of_19_is_not() -> None:
    assert len(find_anomalies(with_dips(625, (300, 320, 1.0)), SPAN)) == 1
    assert find_anomalies(with_dips(625, (300, 319, 1.0)), SPAN) == []


def test_a_dip_of_16_percent_of_the_scale_is_found_if_a_part_reaches_20_percent() -> None:
    for deep, count in ((9, 0), (10, 1)):
        scores = with_dips(625, (300, 362, 3.5), (320, 320 + deep, 3.2))
        assert (
            len(find_anomalies(scores, 0.49 / 0.16)) == count
        )  # 0.5 is more than 16 % of the scale, 0.8 more than 20 %
    scores = with_dips(625, (300, 362, 3.5), (320, 340, 3.2))
    (anomaly,) = find_anomalies(scores, 0.51 / 0.16)  # 0.5 is less
    assert anomaly.end_s - anomaly.start_s == pytest.approx(19 * FRAME_S + 0.032)


def test_a_dip_is_compared_with_the_surrounding_20_s() -> None:
    bad_half = with_dips(2500, level=2.0)
    dip_in_good_half = np.concatenate([with_dips(2500, (1000, 1060, 2.5), level=4.5), bad_half])
    assert [16.0, 2.5] in [[a.start_s, round(a.mean_score, 3)] for a in find_anomalies(dip_in_good_half, SPAN)]
    dip_in_bad_half = np.concatenate([with_dips(2500, level=4.5), with_dips(2500, (1000, 1060, 2.5), level=2.0)])
    assert 56.0 not in [a.start_s for a in find_anomalies(dip_in_bad_half, SPAN)]


def test_utterances_of_20_and_21_frames_have_no_anomaly() -> None:
    for num_frames in (20, 21):
        for dip in range(num_frames + 1):
            assert find_anomalies(with_dips(num_frames, (0, dip, 1.0)), SPAN) == []


# Scores without anomalies.


@given(num_frames=st.integers(0, 3000), level=st.floats(-2, 10))
@quick
def test_constant_scores_have_no_anomaly(num_frames: int, level: float) -> None:
    assert find_anomalies(np.full(num_frames, level, np.float32), SPAN) == []


@pytest.mark.parametrize("num_frames", [0, 1, 19])
@pytest.mark.filterwarnings("error")
def test_an_utterance_shorter_than_an_anomaly_has_none(num_frames: int) -> None:
    assert find_anomalies(np.linspace(4, 1, num_frames, dtype=np.float32), SPAN) == []


def test_a_recording_that_is_bad_throughout_has_no_anomaly() -> None:
    assert find_anomalies(with_dips(2000, level=1.2, noise=0.1), SPAN) == []


def test_single_bad_frames_are_not_an_anomaly() -> None:
    scores = with_dips(2000)
    scores[::20] = 1.0
    assert find_anomalies(scores, SPAN) == []


def test_better_parts_are_not_an_anomaly() -> None:
    assert find_anomalies(with_dips(2000, (500, 600, 4.5), level=2.0), SPAN) == []


@pytest.mark.parametrize("change", [1000, 1027, 1063])
def test_a_permanent_change_to_a_lower_level_is_not_an_anomaly(change: int) -> None:
    assert find_anomalies(with_dips(3000, (change, 3000, 2.0)), SPAN) == []


# Properties of every result.


@given(piecewise())
@quick
def test_anomalies_are_ordered_disjoint_and_within_the_utterance(scores: np.ndarray) -> None:
    anomalies = find_anomalies(scores, SPAN)
    end_s = (256 * (len(scores) - 1) + 512) / 16_000
    times = [0.0] + [time for a in anomalies for time in (a.start_s, a.end_s)] + [end_s]
    assert times == sorted(times)
    for a in anomalies:
        assert a.end_s - a.start_s >= 19 * FRAME_S + 0.032 - 1e-9


@given(piecewise())
@quick
def test_the_scores_of_an_anomaly_are_those_of_the_frames_between_its_times(scores: np.ndarray) -> None:
    for a in find_anomalies(scores, SPAN):
        run = scores[round(a.start_s / FRAME_S) : round((a.end_s - 0.032) / FRAME_S) + 1]
        assert a.min_score == run.min()
        assert a.mean_score == pytest.approx(run.mean(dtype=np.float64), abs=1e-5)
        assert a.min_score <= a.mean_score + 1e-6


def test_rounding_does_not_raise_the_minimum_above_the_mean() -> None:
    for score, length in itertools.product((0.7, 1.1, 1.3, 2.7), range(20, 80)):
        scores = np.full(800, 4.0, np.float32)
        scores[300 : 300 + length] = score
        (anomaly,) = find_anomalies(scores, SPAN)
        assert anomaly.min_score <= anomaly.mean_score


@given(piecewise())
@quick
def test_no_anomaly_touches_another(scores: np.ndarray) -> None:
    for earlier, later in itertools.pairwise(find_anomalies(scores, SPAN)):
        assert earlier.end_s < later.start_s


@given(piecewise(), st.sampled_from([-2.0, 0.5, 3.0]), st.sampled_from([0.5, 2.0, 4.0]))
@quick
def test_shifting_and_scaling_the_scores_does_not_change_the_anomalies(
    scores: np.ndarray, shift: float, factor: float
) -> None:
    scores = np.round(scores * 64) / 64  # so that shift and factor are exact
    span = 3.517  # so that no difference is exactly 16 or 20 % of the span
    before = [(a.start_s, a.end_s) for a in find_anomalies(scores, span)]
    assert [(a.start_s, a.end_s) for a in find_anomalies(scores * factor + shift, span * factor)] == before


def test_the_scores_are_unchanged() -> None:
    scores = with_dips(625, (300, 362, 1.5))
    before = scores.copy()
    find_anomalies(scores, SPAN)
    assert np.array_equal(scores, before)


def test_every_anomaly_of_half_an_hour_is_found() -> None:
    dips = [(start, start + 60, 1.5) for start in range(500, 100_000, 1000)]
    anomalies = find_anomalies(with_dips(100_000, *dips, noise=0.1), SPAN)
    assert len(anomalies) == len(dips)
    for a, (start, _, _) in zip(anomalies, dips, strict=True):
        assert a.start_s == pytest.approx(start * FRAME_S, abs=3 * FRAME_S)
