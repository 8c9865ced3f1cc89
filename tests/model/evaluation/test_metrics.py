"""Metrics against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.evaluation.metrics import (
    agreement,
    lcc,
    precision_recall_f1,
    rmse,
    srcc,
    weighted_auc,
    weighted_lcc,
    weighted_mean,
    weighted_rmse,
    weighted_srcc,
)

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


@st.composite
def resamples(draw: st.DrawFn):
    """Labels, scores (few values, so that there are ties) and how often each item stands in three resamples."""
    count = draw(st.integers(2, 15))
    columns = [draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)) for _ in range(2)]
    weight = [draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)) for _ in range(3)]
    return np.array(columns[0], float), np.array(columns[1], float), np.array(weight, float)


def repeated(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.repeat(values, weight.astype(int))


@pytest.mark.parametrize(("weighted", "measure"), [(weighted_lcc, lcc), (weighted_srcc, srcc), (weighted_rmse, rmse)])
@given(case=resamples())
@quick
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_a_weighted_measure_is_the_measure_of_the_repeated_items(weighted, measure, case) -> None:
    label, score, weight = case
    found = weighted(label, score, weight)
    assert found.shape == (3,)
    for row, value in zip(weight, found, strict=True):
        expected = measure(repeated(label, row), repeated(score, row)) if row.any() else math.nan
        assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(resamples())
@quick
def test_a_weighted_mean_is_the_mean_of_the_repeated_items(case) -> None:
    label, _, weight = case
    for row, value in zip(weight, weighted_mean(label, weight), strict=True):
        items = repeated(label, row)
        assert value == pytest.approx(items.mean() if len(items) else math.nan, nan_ok=True)


@given(resamples())
@quick
def test_the_auc_is_the_share_of_pairs_in_the_right_order_ties_half(case) -> None:
    label, score, weight = case
    positive = label > 2
    for row, value in zip(weight, weighted_auc(positive, score, weight), strict=True):
        of_positive, of_negative = repeated(score[positive], row[positive]), repeated(score[~positive], row[~positive])
        pairs = [(a > b) + (a == b) / 2 for a in of_positive for b in of_negative]
        assert value == pytest.approx(sum(pairs) / len(pairs) if pairs else math.nan, nan_ok=True)


def test_the_auc_of_known_cases() -> None:
    positive, weight = np.array([True, True, False, False]), np.ones((1, 4))
    assert weighted_auc(positive, np.array([3, 4, 1, 2]), weight) == [1.0]
    assert weighted_auc(positive, np.array([1, 2, 3, 4]), weight) == [0.0]
    assert weighted_auc(positive, np.array([1, 1, 1, 1]), weight) == [0.5]
    assert weighted_auc(positive, np.array([4, 2, 3, 1]), weight) == [0.75]


@pytest.mark.filterwarnings("error")
def test_a_constant_has_no_weighted_correlation_however_it_rounds() -> None:
    constant, varied = np.full(7, 0.1), np.arange(7.0)
    weight = np.random.default_rng(0).integers(0, 9, (50, 7)).astype(float)
    for measure in (weighted_lcc, weighted_srcc):
        assert np.isnan(measure(constant, varied, weight)).all()


def test_precision_recall_and_f1_of_known_counts() -> None:
    found = precision_recall_f1(np.array([3.0, 0.0, 0.0]), np.array([1.0, 0.0, 2.0]), np.array([2.0, 4.0, 0.0]))
    assert found["precision"] == pytest.approx([0.75, math.nan, 0.0], nan_ok=True)
    assert found["recall"] == pytest.approx([0.6, 0.0, math.nan], nan_ok=True)
    assert found["f1"] == pytest.approx([2 * 0.75 * 0.6 / 1.35, 0.0, 0.0])


@given(st.integers(1, 20), st.integers(0, 20), st.integers(0, 20))
@quick
def test_f1_is_the_harmonic_mean_of_precision_and_recall(found: int, wrongly: int, missed: int) -> None:
    values = {k: float(v) for k, v in precision_recall_f1(*map(np.array, (found, wrongly, missed))).items()}
    harmonic = 2 * values["precision"] * values["recall"] / (values["precision"] + values["recall"])
    assert values["f1"] == pytest.approx(harmonic)
