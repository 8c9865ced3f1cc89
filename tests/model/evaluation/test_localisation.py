"""Truly bad frames and frames of anomalies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.anomalies import Anomaly, find_anomalies
from model.evaluation.bootstrap import Resamples
from model.evaluation.localisation import (
    Distortion,
    Localised,
    anomaly_frames,
    bad_frames,
    covered_frames,
    has_known_span,
    intersection_over_union,
    localise,
    measure_localisation,
    partial,
)
from model.labels import PESQ_WB

quick = settings(deadline=None, max_examples=100)
FRAME_S = 256 / 16_000


def naive_covered(start: int, end: int, num_frames: int) -> list[bool]:
    return [sum(start <= s < end for s in range(256 * t, 256 * t + 512)) >= 256 for t in range(num_frames)]


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(1, 10))
@settings(deadline=None, max_examples=50)
def test_a_frame_is_covered_where_half_of_its_samples_are(start: int, length: int, num_frames: int) -> None:
    found = covered_frames(start / 16_000, (start + length) / 16_000, num_frames)
    assert found.tolist() == naive_covered(start, start + length, num_frames)


def test_what_covers_the_whole_clip_marks_no_frame() -> None:
    whole, part = Distortion("noise", "", 0.0, 1.6), Distortion("dropout", "", 0.32, 0.64)
    assert not bad_frames([whole], 99).any()
    bad = bad_frames([whole, part], 99)
    assert np.flatnonzero(bad).tolist() == list(range(19, 40))
    assert partial([whole, part], 99) == [part]


def test_what_is_too_short_for_half_a_frame_leaves_no_known_span() -> None:
    bad = bad_frames([Distortion("click", "", 0.5, 0.505)], 99)
    assert not bad.any()
    assert not has_known_span(bad)
    assert not has_known_span(np.ones(4, bool))
    assert has_known_span(np.array([True, False]))


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(1, 40)), max_size=4), st.integers(10, 120))
@quick
def test_anomalies_become_the_frames_that_they_were_made_of(runs: list[tuple[int, int]], num_frames: int) -> None:
    expected = np.zeros(num_frames, bool)
    found = []
    for first, length in runs:
        end = min(first + length, num_frames)
        if end > first:
            expected[first:end] = True
            found.append(Anomaly(first * FRAME_S, ((end - 1) * 256 + 512) / 16_000, 1.0, 1.0))
    assert np.array_equal(anomaly_frames(found, num_frames), expected)


def test_intersection_over_union_of_known_cases() -> None:
    a, b = np.array([1, 1, 1, 0, 0], bool), np.array([0, 1, 1, 1, 0], bool)
    assert intersection_over_union(a, b) == 0.5
    assert intersection_over_union(a, a) == 1.0
    assert intersection_over_union(a, ~a) == 0.0
    assert math.isnan(intersection_over_union(np.zeros(3, bool), np.zeros(3, bool)))


def test_a_drop_in_the_frame_scores_is_localised() -> None:
    frame_score = np.full(249, 4.0, np.float32)
    frame_score[100:150] = 1.5
    start_s, end_s = (100 * 256 + 128) / 16_000, (149 * 256 + 384) / 16_000
    found = localise(frame_score, [Distortion("noise", "", start_s, end_s)], PESQ_WB.span)
    assert np.flatnonzero(found.bad).tolist() == list(range(100, 150))
    assert np.array_equal(found.in_anomaly, anomaly_frames(find_anomalies(frame_score, PESQ_WB.span), 249))
    assert found.num_anomalies == 1
    measured = measure_localisation([found], np.array([0]), Resamples(["a"], 10, 0))
    assert measured["iou"].value > 0.9
    assert measured["auc"].value == measured["auc_within_clip"].value == 1.0


def test_a_drop_in_silence_is_not_localised() -> None:
    frame_score = np.full(249, 4.0, np.float32)
    frame_score[100:150] = 1.5
    silent = frame_score < 4.0
    assert localise(frame_score, [], PESQ_WB.span).num_anomalies == 1
    assert localise(frame_score, [], PESQ_WB.span, silent).num_anomalies == 0


def test_localisation_of_known_counts() -> None:
    bad, good = np.array([1, 1, 0, 0], bool), np.array([0, 0, 0, 1], bool)
    first = Localised(np.array([1.0, 3.0, 2.0, 4.0]), bad, np.array([1, 0, 1, 0], bool), 1)
    second = Localised(np.array([9.0, 9.0, 9.0, 8.0]), good, good, 1)
    found = measure_localisation([first, second], np.array([0, 3]), Resamples(list("aabb"), 20, 0))
    # Over both clips: two bad frames are found, one is missed, one is found wrongly.
    assert found["precision"].value == found["recall"].value == found["f1"].value == pytest.approx(2 / 3)
    assert found["iou"].value == pytest.approx((1 / 3 + 1) / 2)
    # Within the first clip three of four pairs are in order, within the second all.
    assert found["auc_within_clip"].value == pytest.approx((3 / 4 + 1) / 2)
    # Together, bad 1, 3, 8 and good 2, 4, 9, 9, 9: the bad frame of the second clip is over both good ones of the first.
    assert found["auc"].value == pytest.approx((5 + 4 + 3) / 15)
