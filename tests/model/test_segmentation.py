"""Segmentation: the best stretches of a series of evidence, against a search over all sets of stretches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.segmentation import best_stretch, best_stretches, runs_of

quick = settings(deadline=None, max_examples=200)
# Multiples of 1/4, so that sums are exact.
evidence_of = st.lists(st.integers(-8, 8).map(lambda n: n / 4), max_size=9).map(lambda values: np.array(values, float))


def gain(evidence: np.ndarray, stretches: list[tuple[int, int]], cost: float) -> float:
    """Returns the sum of the evidence in the stretches, minus the cost of each."""
    return sum(float(evidence[start:end].sum()) - cost for start, end in stretches)


@given(evidence_of, st.sampled_from([0.25, 1.0, 3.0]))
@quick
def test_no_other_set_of_stretches_is_better(evidence: np.ndarray, cost: float) -> None:
    stretches = best_stretches(evidence, cost)
    best = max(
        gain(evidence, runs_of(np.array(inside, bool)).tolist(), cost)
        for inside in itertools.product([False, True], repeat=len(evidence))
    )
    assert gain(evidence, stretches, cost) == best
    bounds = [place for stretch in stretches for place in stretch]
    assert bounds == sorted(set(bounds))
    assert all(0 <= place <= len(evidence) for place in bounds)


@given(evidence_of.filter(len))
@quick
def test_no_other_single_stretch_has_a_larger_sum(evidence: np.ndarray) -> None:
    start, end = best_stretch(evidence)
    sums = [evidence[a:b].sum() for a in range(len(evidence) + 1) for b in range(a, len(evidence) + 1)]
    assert evidence[start:end].sum() == max(sums)


@pytest.mark.parametrize(("gap", "count"), [(2, 1), (4, 2)])
def test_a_gap_splits_a_stretch_if_it_outweighs_the_cost(gap: int, count: int) -> None:
    evidence = np.array([1.0] * 10 + [-1.0] * gap + [1.0] * 10)
    assert len(best_stretches(evidence, 3.0)) == count


def test_a_million_changes_of_sign_are_searched_in_one_pass() -> None:
    evidence = np.tile([2.0, -2.0], 500_000)
    assert best_stretches(evidence, 1.0) == [(place, place + 1) for place in range(0, 1_000_000, 2)]
    assert best_stretches(evidence, 3.0) == []


def test_runs() -> None:
    assert runs_of(np.array([1, 1, 0, 1, 0, 0, 1], bool)).tolist() == [[0, 2], [3, 4], [6, 7]]
    assert runs_of(np.zeros(0, bool)).tolist() == []
