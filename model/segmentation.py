"""Cuts a series of evidence into stretches: the best set of stretches at a cost for each, and the best single one."""

from __future__ import annotations

import numpy as np


def runs_of(flags: np.ndarray) -> np.ndarray:
    """Returns the maximal runs of true values in bool [T], as int64 [N, 2]: first index, and index after the last."""
    padded = np.zeros(len(flags) + 2, bool)
    padded[1:-1] = flags
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def best_stretches(evidence: np.ndarray, cost: float) -> list[tuple[int, int]]:
    """Finds the disjoint stretches that maximise the sum of the evidence in them, minus a cost for each stretch.

    This is the Viterbi path of two states, inside and outside, with a cost to enter. A best path changes its state only where
    the evidence changes its sign, so the search visits the runs of equal sign. It takes linear time.

    Args:
        evidence: evidence of each element, positive inside a stretch and negative outside: float64 [T].
        cost: cost of a stretch, above 0.

    Returns:
        Start and end of each stretch, in order. The end is the index after the last element.
    """
    if not len(evidence):
        return []
    is_positive, is_start = evidence > 0, np.ones(len(evidence), bool)
    np.not_equal(is_positive[1:], is_positive[:-1], out=is_start[1:])
    starts = np.flatnonzero(is_start)
    sums = np.add.reduceat(evidence, starts)
    # The best sums of paths that end outside and inside. A path is a linked list of stretches, the last one first.
    outside, inside = 0.0, -np.inf
    closed: tuple[tuple[int, int], object] | None = None
    opened: tuple[int, object] = (0, None)
    for start, total in zip(starts.tolist(), sums.tolist(), strict=True):
        if total > 0:
            if outside - cost > inside:
                inside, opened = outside - cost, (start, closed)
        elif inside > outside:
            outside, closed = inside, ((opened[0], start), opened[1])
        inside += total
    if inside > outside:
        closed = ((opened[0], len(evidence)), opened[1])
    stretches = []
    while closed is not None:
        stretch, closed = closed  # type: ignore[assignment]
        stretches.append(stretch)
    return stretches[::-1]


def best_stretch(evidence: np.ndarray) -> tuple[int, int]:
    """Returns start and end of the stretch with the largest sum of the evidence, float64 [T]; T >= 1."""
    sums = np.concatenate(([0.0], np.cumsum(evidence)))
    end = int(np.argmax(sums - np.minimum.accumulate(sums)))
    return int(np.argmin(sums[: end + 1])), end
