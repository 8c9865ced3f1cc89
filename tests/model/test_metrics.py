"""Metrics against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.metrics import agreement, lcc, rmse, srcc

quick = settings(deadline=None, max_examples=100)
# Few values, so that there are ties.
pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=40)
real_pairs = st.lists(st.tuples(st.floats(-5, 5, width=16), st.floats(-5, 5, width=16)), min_size=3, max_size=40)


def columns(rows: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    label, score = np.array(rows, np.float64).T
    assume(np.ptp(label) > 0.01)
    assume(np.ptp(score) > 0.01)
    return label, score


@given(pairs | real_pairs)
@quick
def test_lcc_is_pearsons(rows: list[tuple[float, float]]) -> None:
    label, score = columns(rows)
    assert lcc(label, score) == pytest.approx(scipy.stats.pearsonr(label, score).statistic, abs=1e-9)


@given(pairs | real_pairs)
@quick
def test_srcc_is_spearmans_with_ties_too(rows: list[tuple[float, float]]) -> None:
    label, score = columns(rows)
    assert srcc(label, score) == pytest.approx(scipy.stats.spearmanr(label, score).statistic, abs=1e-9)


@given(pairs | real_pairs)
@quick
def test_rmse_is_the_root_of_the_mean_square_error(rows: list[tuple[float, float]]) -> None:
    label, score = columns(rows)
    assert rmse(label, score) == pytest.approx(math.sqrt(sum((a - b) ** 2 for a, b in rows) / len(rows)))


def test_srcc_sees_order_only_and_lcc_does_not() -> None:
    label = np.arange(1.0, 9.0)
    assert srcc(label, np.exp(label)) == pytest.approx(1.0)
    assert lcc(label, np.exp(label)) < 0.9


def test_a_perfect_score_and_its_opposite() -> None:
    label = np.array([1.0, 2.5, 4.0, 4.5])
    assert agreement(label, label) == pytest.approx({"lcc": 1.0, "srcc": 1.0, "rmse": 0.0})
    assert agreement(label, -label)["lcc"] == pytest.approx(-1.0)
    assert agreement(label, -label)["srcc"] == pytest.approx(-1.0)


def test_a_constant_offset_costs_rmse_alone() -> None:
    label = np.array([1.0, 2.5, 4.0, 4.5])
    assert agreement(label, label + 0.5) == pytest.approx({"lcc": 1.0, "srcc": 1.0, "rmse": 0.5})


@pytest.mark.parametrize("metric", [lcc, srcc])
@pytest.mark.filterwarnings("error")
def test_correlation_with_a_constant_is_nan_without_a_warning(metric: object) -> None:
    constant, varied = np.full(4, 2.0), np.array([1.0, 2.0, 3.0, 4.0])
    assert math.isnan(metric(constant, varied))
    assert math.isnan(metric(varied, constant))
    assert math.isnan(metric(constant, constant))


@pytest.mark.parametrize("metric", [lcc, srcc])
@pytest.mark.filterwarnings("error")
def test_correlation_of_a_single_clip_is_nan(metric: object) -> None:
    assert math.isnan(metric(np.array([1.0]), np.array([2.0])))


def test_float32_labels_and_scores_lose_nothing_that_matters() -> None:
    rng = np.random.default_rng(0)
    label = rng.uniform(1, 4.64, 5000)
    score = label + rng.normal(0, 0.3, 5000)
    exact = agreement(label, score)
    assert agreement(label.astype(np.float32), score.astype(np.float32)) == pytest.approx(exact, abs=1e-5)
    assert all(type(value) is float for value in exact.values())
