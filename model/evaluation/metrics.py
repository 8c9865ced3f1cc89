"""How well scores agree with labels, and bad clips and frames with those that were found.

The `weighted_*` functions measure many resamples of one set of N items at once: `weight` [R, N] says how often each item
stands in each resample, and the result [R] is what the plain measure gives for those repeated items. A measure that
is not defined (a correlation with a constant, a share of nothing) is NaN.
"""

from __future__ import annotations

import numpy as np
import scipy.stats


def lcc(label: np.ndarray, score: np.ndarray) -> float:
    """Linear (Pearson) correlation of labels [N] and scores [N]; NaN where either is constant."""
    if len(label) < 2 or np.ptp(label) == 0 or np.ptp(score) == 0:
        return float("nan")
    return float(np.corrcoef(label, score)[0, 1])


def srcc(label: np.ndarray, score: np.ndarray) -> float:
    """Rank (Spearman) correlation of labels [N] and scores [N], ties at their mean rank; NaN where either is constant."""
    return lcc(scipy.stats.rankdata(label), scipy.stats.rankdata(score))


def rmse(label: np.ndarray, score: np.ndarray) -> float:
    """Root mean square error of scores [N] against labels [N], on the label scale."""
    return float(np.sqrt(np.mean((np.asarray(label) - np.asarray(score)) ** 2)))


def agreement(label: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """LCC, SRCC and RMSE of scores [N] against labels [N]."""
    return {"lcc": lcc(label, score), "srcc": srcc(label, score), "rmse": rmse(label, score)}


def weighted_mean(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean of x [N] in each resample: [R]."""
    return _ratio(weight @ np.asarray(x, np.float64), weight.sum(axis=1))


def weighted_rmse(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`rmse` in each resample: [R]."""
    return np.sqrt(weighted_mean((np.asarray(label, np.float64) - score) ** 2, weight))


def weighted_lcc(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`lcc` in each resample: [R]. Labels and scores are [N], or [R, N] where they differ between resamples."""
    centred = []
    for values in (np.asarray(label, np.float64), np.asarray(score, np.float64)):
        total = weight.sum(axis=1)
        mean = _ratio((weight * values).sum(axis=1), total)
        # What the mean's rounding leaves of a constant must not be taken for variance.
        high = np.where(weight > 0, values, -np.inf).max(axis=1, initial=-np.inf)
        low = np.where(weight > 0, values, np.inf).min(axis=1, initial=np.inf)
        centred.append(np.where((high > low)[:, np.newaxis], values - mean[:, np.newaxis], 0.0))
    a, b = centred
    spread = np.sqrt((weight * a * a).sum(axis=1) * (weight * b * b).sum(axis=1))
    return _ratio((weight * a * b).sum(axis=1), spread)


def weighted_srcc(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`srcc` in each resample: [R]."""
    return weighted_lcc(_ranks(label, weight), _ranks(score, weight), weight)


def weighted_auc(positive: np.ndarray, value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in each resample: the chance that a positive item has the larger value, ties half.

    Args:
        positive: bool [N].
        value: [N].
        weight: [R, N].

    Returns:
        [R]; NaN in resamples of one class only.
    """
    order, starts, _ = _ties(value)
    weight = weight[:, order]
    of_positive = np.add.reduceat(weight * positive[order], starts, axis=1)  # [R, distinct values]
    of_negative = np.add.reduceat(weight * ~positive[order], starts, axis=1)
    below = np.cumsum(of_negative, axis=1) - of_negative / 2
    return _ratio((of_positive * below).sum(axis=1), of_positive.sum(axis=1) * of_negative.sum(axis=1))


def precision_recall_f1(found: np.ndarray, wrongly: np.ndarray, missed: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1.

    Args:
        found: number of true positives, any shape.
        wrongly: of false positives.
        missed: of false negatives.

    Returns:
        The three, of the same shape: found / (found + wrongly), found / (found + missed), and
        2 found / (2 found + wrongly + missed), their harmonic mean.
    """
    return {
        "precision": _ratio(found, found + wrongly),
        "recall": _ratio(found, found + missed),
        "f1": _ratio(2 * found, 2 * found + wrongly + missed),
    }


def _ranks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Rank of each value in each resample, ties (copies of one item among them) at their mean rank: [R, N]."""
    order, starts, which = _ties(values)
    held = np.add.reduceat(weight[:, order], starts, axis=1)  # [R, distinct values]
    return (np.cumsum(held, axis=1) - (held - 1) / 2)[:, which]


def _ties(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order of values [N], where in it each distinct value begins, and which distinct value each item has [N]."""
    order = np.argsort(values, kind="stable")
    _, starts, which = np.unique(np.asarray(values)[order], return_index=True, return_inverse=True)
    place = np.empty_like(which)
    place[order] = which
    return order, starts, place


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)
