"""Anomalies: which stretches are found, which are not, and the properties of every result."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.anomalies import Anomaly, find_anomalies

SPAN = 3.64
FRAME_S = 0.016
SECOND = 62.5
quick = settings(deadline=None, max_examples=100)


def with_dips(num_frames: int, *dips: tuple[int, int, float], level: float = 4.3, noise: float = 0.0) -> np.ndarray:
    """Makes frame scores at `level` with dips (start, end, score)."""
    scores = np.full(num_frames, level, np.float32)
    for start, end, score in dips:
        scores[start:end] = score
    return scores + np.random.default_rng(0).normal(0, noise or 1e-9, num_frames).astype(np.float32)


def swinging(num_frames: int, deviation: float, length: int = 30, seed: int = 0) -> np.ndarray:
    """Makes a fluctuation with a correlation of about `length` frames, as the sounds of speech cause it: float64 [T]."""
    steps = np.random.default_rng(seed).normal(0, 1, num_frames + length - 1)
    return np.convolve(steps, np.ones(length), "valid") * deviation / np.sqrt(length)


def frames_in(anomalies: list[Anomaly], num_frames: int) -> np.ndarray:
    """Returns whether each frame is in an anomaly, bool [T]."""
    inside = np.zeros(num_frames, bool)
    for a in anomalies:
        inside[round(a.start_s / FRAME_S) : round((a.end_s - 0.032) / FRAME_S) + 1] = True
    return inside


def overlap(anomalies: list[Anomaly], start: int, end: int, num_frames: int) -> float:
    """Returns the intersection over union of the anomalies and a stretch of frames."""
    found, true = frames_in(anomalies, num_frames), np.zeros(num_frames, bool)
    true[start:end] = True
    return np.count_nonzero(found & true) / np.count_nonzero(found | true)


@st.composite
def piecewise(draw: st.DrawFn) -> np.ndarray:
    """Makes frame scores of parts with different quality, some with jitter."""
    quality = st.sampled_from([4.2, 4.0]) | st.floats(1, 4.5)
    parts = draw(st.lists(st.tuples(st.integers(1, 200), quality), min_size=1, max_size=12))
    scores = np.concatenate([np.full(length, score) for length, score in parts])
    jitter = draw(st.sampled_from([0.0, 0.1, 0.8]))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    return (scores + rng.normal(0, 1, len(scores)) * jitter).astype(np.float32)


@st.composite
def masks(draw: st.DrawFn, num_frames: int) -> np.ndarray | None:
    """Makes bool [T] with runs of any length, or None."""
    bounds = draw(st.none() | st.lists(st.integers(0, num_frames), max_size=6))
    if bounds is None:
        return None
    mask = np.zeros(num_frames, bool)
    for start, end in itertools.pairwise(sorted(bounds)):
        mask[start:end] = ~mask[start:end]
    return mask


# Stretches that are anomalies.


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


@pytest.mark.parametrize("deviation", [0.1, 0.3])
@pytest.mark.parametrize("seconds", [1, 5, 60, 600])
def test_a_stretch_of_any_length_is_found_in_minutes_of_good_speech(seconds: int, deviation: float) -> None:
    start, end = 4000, 4000 + round(seconds * SECOND)
    num_frames = end + 4000
    scores = with_dips(num_frames, (start, end, 1.6)) + swinging(num_frames, deviation)
    assert overlap(find_anomalies(scores, SPAN), start, end, num_frames) > 0.95


@pytest.mark.parametrize("seconds", [0.35, 0.5, 1])
def test_a_short_stretch_is_found_in_5_s(seconds: float) -> None:
    start, end = 100, 100 + round(seconds * SECOND)
    scores = with_dips(312, (start, end, 2.0)) + swinging(312, 0.1)
    assert overlap(find_anomalies(scores, SPAN), start, end, 312) > 0.8


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("seconds", [10, 60, 600])
def test_a_stretch_may_cover_most_of_a_recording(seconds: int, share: float) -> None:
    num_frames = round(seconds * SECOND)
    start = round((1 - share) / 2 * num_frames)
    end = start + round(share * num_frames)
    scores = with_dips(num_frames, (start, end, 1.3)) + swinging(num_frames, 0.15)
    assert overlap(find_anomalies(scores, SPAN), start, end, num_frames) > 0.95


def test_the_worse_half_is_the_anomaly_of_a_recording_that_changes_for_good() -> None:
    for order in (1, -1):
        scores = (with_dips(10_000, (5000, 10_000, 1.5)) + swinging(10_000, 0.3))[::order]
        start = 5000 if order == 1 else 0
        assert overlap(find_anomalies(scores, SPAN), start, start + 5000, 10_000) > 0.99


def test_long_recordings_need_deeper_stretches_than_short_ones() -> None:
    dip = (100, 180, 3.5)  # 0.8 below the good level
    assert len(find_anomalies(with_dips(312, dip), SPAN)) == 1
    assert find_anomalies(with_dips(7500, dip), SPAN) == []


@pytest.mark.parametrize(("start", "end"), [(0, 40), (585, 625)])
def test_a_dip_at_an_end_of_the_utterance_is_found(start: int, end: int) -> None:
    (anomaly,) = find_anomalies(with_dips(625, (start, end, 1.0)), SPAN)
    assert anomaly.start_s == pytest.approx(start * FRAME_S)
    assert anomaly.end_s == pytest.approx((end - 1) * FRAME_S + 0.032)


def test_two_dips_are_two_anomalies_in_order() -> None:
    anomalies = find_anomalies(with_dips(625, (400, 450, 2.0), (100, 150, 1.0)), SPAN)
    assert [round(a.start_s / FRAME_S) for a in anomalies] == [100, 400]
    assert [a.mean_score for a in anomalies] == pytest.approx([1.0, 2.0], abs=1e-6)


def test_a_short_gap_does_not_split_a_stretch() -> None:
    scores = with_dips(3000, (1000, 1400, 1.5), (1420, 2000, 1.5))
    assert overlap(find_anomalies(scores, SPAN), 1000, 2000, 3000) == 1.0
    assert len(find_anomalies(with_dips(3000, (1000, 1400, 1.5), (1600, 2000, 1.5)), SPAN)) == 2


@pytest.mark.parametrize("seconds", [5, 20, 60])
@pytest.mark.parametrize("start_s", [0, 40, 100])
def test_a_sustained_stretch_may_be_less_deep_than_a_brief_one(seconds: int, start_s: int) -> None:
    start, end, num_frames = (
        round(start_s * SECOND),
        round((start_s + seconds) * SECOND),
        round((120 + seconds) * SECOND),
    )
    scores = with_dips(num_frames, (start, end, 3.2)) + swinging(num_frames, 0.1)
    assert overlap(find_anomalies(scores, SPAN), start, end, num_frames) > 0.95
    dips = [(dip, dip + 62, 3.2) for dip in range(500, 7000, 1000)]
    assert find_anomalies(with_dips(num_frames, *dips) + swinging(num_frames, 0.1), SPAN) == []


def test_good_moments_of_3_s_split_a_sustained_stretch() -> None:
    scores = with_dips(8000, (3000, 3400, 3.2), (3600, 4000, 3.2), (4060, 4400, 3.2))
    starts = [round(a.start_s / FRAME_S) for a in find_anomalies(scores, SPAN)]
    assert starts == [3000, 3600]


@pytest.mark.parametrize("seed", range(10))
def test_640_ms_of_good_speech_at_each_end_of_10_s_are_enough(seed: int) -> None:
    is_bad = (np.arange(625) >= 40) & (np.arange(625) < 585)
    scores = np.clip(np.where(is_bad, 1.4, 3.6) + swinging(625, 0.6, seed=seed), 1.0, 4.64)
    assert overlap(find_anomalies(scores, SPAN), 40, 585, 625) > 0.8


@pytest.mark.parametrize("bad", [600, 700, 800])
def test_sustained_dips_over_most_of_a_recording_are_its_fluctuation(bad: int) -> None:
    scores = np.concatenate([np.full(300, 4.2), np.full(bad, 3.1)] * 6)
    assert find_anomalies(scores + swinging(len(scores), 0.2), SPAN) == []


def test_the_ends_are_where_the_score_crosses_60_percent_of_the_depth() -> None:
    ramp = np.linspace(4.0, 1.0, 101)
    scores = np.concatenate([np.full(400, 4.0), ramp, np.full(200, 1.0), ramp[::-1], np.full(400, 4.0)])
    (anomaly,) = find_anomalies(scores, SPAN)
    assert anomaly.start_s == pytest.approx(460 * FRAME_S, abs=3 * FRAME_S)
    assert anomaly.end_s == pytest.approx((len(scores) - 460) * FRAME_S, abs=3 * FRAME_S)


def test_the_scores_of_an_anomaly_are_those_of_its_frames_before_smoothing() -> None:
    scores = with_dips(625, (300, 362, 2.0))
    scores[330] = 1.0
    (anomaly,) = find_anomalies(scores, SPAN)
    assert anomaly.min_score == 1.0
    assert anomaly.mean_score == pytest.approx(2.0 - 1.0 / 62)


def test_every_anomaly_of_a_day_is_found() -> None:
    dips = [(start, start + 120, 1.5) for start in range(500, 5_400_000, 10_000)]
    anomalies = find_anomalies(with_dips(5_400_000, *dips, noise=0.1), SPAN)
    assert len(anomalies) == len(dips)
    for a, (start, _, _) in zip(anomalies, dips, strict=True):
        assert a.start_s == pytest.approx(start * FRAME_S, abs=3 * FRAME_S)


# Recordings without anomalies.


@given(num_frames=st.integers(0, 3000), level=st.floats(-2, 10))
@quick
def test_constant_scores_have_no_anomaly(num_frames: int, level: float) -> None:
    assert find_anomalies(np.full(num_frames, level, np.float32), SPAN) == []


@pytest.mark.parametrize("num_frames", [0, 1, 17])
@pytest.mark.filterwarnings("error")
def test_an_utterance_shorter_than_an_anomaly_has_none(num_frames: int) -> None:
    scores = np.linspace(4, 1, num_frames, dtype=np.float32)
    for mask in (None, np.zeros(num_frames, bool), np.ones(num_frames, bool)):
        assert find_anomalies(scores, SPAN, mask, mask) == []


@pytest.mark.parametrize("level", [1.5, 2.5, 3.5])
@pytest.mark.parametrize("deviation", [0.15, 0.5])
@pytest.mark.parametrize("seconds", [20, 120, 1200])
def test_an_even_recording_has_none_however_its_frames_fluctuate(level: float, deviation: float, seconds: int) -> None:
    num_frames = round(seconds * SECOND)
    for seed in range(5):
        scores = np.clip(level + swinging(num_frames, deviation, seed=seed), 1.0, 4.64)
        assert find_anomalies(scores, SPAN) == []


def test_single_bad_frames_are_not_an_anomaly() -> None:
    scores = with_dips(2000)
    scores[::20] = 1.0
    assert find_anomalies(scores, SPAN) == []


def test_better_parts_are_not_an_anomaly() -> None:
    assert find_anomalies(with_dips(2500, (500, 560, 4.5), level=2.0), SPAN) == []


# Silence.


def test_silence_of_more_than_4_s_inside_is_an_anomaly() -> None:
    for length, count in ((250, 0), (251, 1), (2500, 1)):
        silent = np.zeros(4000, bool)
        silent[1000 : 1000 + length] = True
        anomalies = find_anomalies(with_dips(4000, noise=0.05), SPAN, silent)
        assert len(anomalies) == count
        if anomalies:
            assert overlap(anomalies, 1000, 1000 + length, 4000) == 1.0


def test_silence_before_and_after_is_no_anomaly() -> None:
    silent = np.ones(4000, bool)
    assert find_anomalies(with_dips(4000), SPAN, silent) == []
    silent[1000:2000] = False
    assert find_anomalies(with_dips(4000), SPAN, silent) == []


def test_the_scores_of_silent_frames_are_not_judged() -> None:
    scores = with_dips(3000, (1000, 1200, 1.0))
    assert len(find_anomalies(scores, SPAN)) == 1
    silent = np.zeros(3000, bool)
    silent[1000:1200] = True
    assert find_anomalies(scores, SPAN, silent) == []


def test_pauses_do_not_split_a_stretch() -> None:
    scores, silent = with_dips(3000, (1000, 2000, 1.5)), np.zeros(3000, bool)
    silent[1300:1400] = silent[980:1000] = True
    scores[silent] = 4.5
    assert overlap(find_anomalies(scores, SPAN, silent), 1000, 2000, 3000) == 1.0


# Frames that are known to be bad.


def test_known_bad_frames_are_an_anomaly_from_304_ms_on() -> None:
    for length, count in ((17, 0), (18, 1)):
        known_bad = np.zeros(1000, bool)
        known_bad[300 : 300 + length] = True
        anomalies = find_anomalies(with_dips(1000), SPAN, known_bad=known_bad)
        assert len(anomalies) == count
    assert (anomalies[0].start_s, anomalies[0].end_s) == pytest.approx((4.8, 5.104))


def test_known_bad_frames_and_the_stretch_beside_them_are_one_anomaly() -> None:
    known_bad = np.zeros(1000, bool)
    known_bad[300:350] = True
    assert overlap(find_anomalies(with_dips(1000, (350, 420, 1.5)), SPAN, None, known_bad), 300, 420, 1000) == 1.0


# Properties of every result.


@given(st.data(), piecewise())
@quick
def test_anomalies_are_ordered_apart_and_within_the_utterance(data: st.DataObject, scores: np.ndarray) -> None:
    silent, known_bad = data.draw(masks(len(scores))), data.draw(masks(len(scores)))
    anomalies = find_anomalies(scores, SPAN, silent, known_bad)
    for earlier, later in itertools.pairwise(anomalies):
        assert earlier.end_s < later.start_s + FRAME_S
    end_s = (256 * (len(scores) - 1) + 512) / 16_000
    for a in anomalies:
        assert 0 <= a.start_s < a.end_s <= end_s
        assert a.end_s - a.start_s >= 0.304 - 1e-9
        run = scores[round(a.start_s / FRAME_S) : round((a.end_s - 0.032) / FRAME_S) + 1]
        assert a.min_score == run.min()
        assert a.mean_score == pytest.approx(run.mean(dtype=np.float64), abs=1e-5)
        assert a.min_score <= a.mean_score + 1e-6


def test_rounding_does_not_raise_the_minimum_above_the_mean() -> None:
    for score, length in itertools.product((0.7, 1.1, 1.3, 2.7), range(20, 80)):
        scores = np.full(800, 4.3, np.float32)
        scores[300 : 300 + length] = score
        (anomaly,) = find_anomalies(scores, SPAN)
        assert anomaly.min_score <= anomaly.mean_score


@given(piecewise(), st.sampled_from([-2.0, 0.5, 3.0]), st.sampled_from([0.5, 2.0, 4.0]))
@quick
def test_shifting_and_scaling_the_scores_does_not_change_the_anomalies(
    scores: np.ndarray, shift: float, factor: float
) -> None:
    scores = np.round(scores * 64) / 64  # so that shift and factor are exact
    span = 3.517  # so that no difference equals a threshold
    before = [(a.start_s, a.end_s) for a in find_anomalies(scores, span)]
    assert [(a.start_s, a.end_s) for a in find_anomalies(scores * factor + shift, span * factor)] == before


@given(st.integers(20, 400), st.floats(1.0, 3.0), st.floats(0.0, 1.0))
@quick
def test_a_worse_stretch_is_found_where_a_better_one_is(length: int, score: float, drop: float) -> None:
    better = with_dips(1250, (400, 400 + length, score)) + swinging(1250, 0.1)
    worse = with_dips(1250, (400, 400 + length, score - drop)) + swinging(1250, 0.1)
    found = frames_in(find_anomalies(better, SPAN), 1250)
    assert np.count_nonzero(found & ~frames_in(find_anomalies(worse, SPAN), 1250)) <= 4


@given(st.data(), piecewise())
@quick
def test_frames_that_are_known_to_be_bad_are_in_the_anomalies(data: st.DataObject, scores: np.ndarray) -> None:
    start = data.draw(st.integers(0, len(scores)))
    known_bad = np.zeros(len(scores), bool)
    known_bad[start : start + 18] = True
    if known_bad.sum() == 18:
        assert frames_in(find_anomalies(scores, SPAN, None, known_bad), len(scores))[known_bad].all()


def test_the_arguments_are_unchanged() -> None:
    scores, silent = with_dips(625, (300, 362, 1.5)), np.zeros(625, bool)
    known_bad = np.arange(625) > 600
    before = scores.copy(), silent.copy(), known_bad.copy()
    find_anomalies(scores, SPAN, silent, known_bad)
    for argument, copy in zip((scores, silent, known_bad), before, strict=True):
        assert np.array_equal(argument, copy)
