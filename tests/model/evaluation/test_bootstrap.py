"""Intervals from resampled speakers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.metrics import weighted_mean


def test_an_estimate_is_the_measure_of_the_set_and_its_interval_the_middle_of_the_resamples() -> None:
    value = np.arange(10.0)
    found = Resamples([str(n) for n in range(10)], 4000, seed=1).estimate(
        lambda weight: {"mean": weighted_mean(value, weight)}, np.arange(10)
    )["mean"]
    assert found.value == 4.5
    low, high = found.interval
    # The mean of ten draws: its standard error is sqrt(8.25 / 10).
    assert (low, high) == pytest.approx((4.5 - 1.96 * 0.908, 4.5 + 1.96 * 0.908), abs=0.1)


def test_the_clips_of_a_speaker_come_and_go_together() -> None:
    speakers = ["a", "b", "a", "c", "b"]
    seen = []
    Resamples(speakers, 30, seed=0).estimate(lambda w: seen.append(w) or {"n": w.sum(axis=1)}, np.arange(5))
    weight = np.concatenate(seen)
    assert weight.shape == (31, 5)
    assert (weight[0] == 1).all()
    assert (weight[:, 0] == weight[:, 2]).all()
    assert (weight[:, 1] == weight[:, 4]).all()
    assert (weight[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(weight, axis=0)) > 5


def test_resamples_of_few_speakers_with_many_clips_are_wider_than_of_many_speakers() -> None:
    value = np.repeat(np.random.default_rng(0).normal(size=8), 50)

    def width(speakers: list[str]) -> float:
        found = Resamples(speakers, 500, seed=0).estimate(lambda w: {"m": weighted_mean(value, w)}, np.arange(400))
        low, high = found["m"].interval
        return high - low

    assert width([str(n // 50) for n in range(400)]) > 4 * width([str(n) for n in range(400)])


def test_the_same_seed_gives_the_same_interval_and_chunks_change_nothing(monkeypatch) -> None:
    value = np.random.default_rng(0).normal(size=40)

    def interval(seed: int) -> tuple[float, float] | None:
        resamples = Resamples([str(n % 7) for n in range(40)], 60, seed)
        return resamples.estimate(lambda w: {"m": weighted_mean(value, w)}, np.arange(40))["m"].interval

    expected = interval(3)
    assert interval(3) == expected
    assert interval(4) != expected
    monkeypatch.setattr("model.evaluation.bootstrap.WEIGHTS_AT_A_TIME", 100)
    assert interval(3) == pytest.approx(expected)


def test_there_is_no_interval_for_one_speaker_nor_without_resamples_nor_where_most_are_undefined() -> None:
    value = np.arange(4.0)
    for resamples in (Resamples(["a"] * 4, 100, 0), Resamples(["a", "b", "c", "d"], 0, 0)):
        found = resamples.estimate(lambda w: {"m": weighted_mean(value, w)}, np.arange(4))["m"]
        assert found.as_dict() == {"value": 1.5, "low": None, "high": None}
    assert Estimate(1.0, np.array([1.0, math.nan, math.nan])).interval is None
    assert Estimate(1.0, np.array([1.0, 2.0, math.nan])).interval is not None
    assert Estimate(math.nan, np.array([1.0])).as_dict() == {"value": None, "low": None, "high": None}
