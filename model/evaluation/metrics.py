"""Metrics: correlation and error of scores against labels, AUC, precision and recall.

The `weighted_*` functions compute a metric for R resamples of N items at once. `weight` [R, N] is the number of times that
each item occurs in each resample; the result [R] equals the plain metric of the repeated items. An undefined metric (a
correlation with a constant, a ratio with denominator 0) is NaN.
"""

from __future__ import annotations

import numpy as np
import scipy.stats


def lcc(label: np.ndarray, score: np.ndarray) -> float:
    """Returns the linear (Pearson) correlation of labels [N] and scores [N]; NaN if either is constant."""
    if len(label) < 2 or np.ptp(label) == 0 or np.ptp(score) == 0:
        return float("nan")
    return float(np.corrcoef(label, score)[0, 1])


def srcc(label: np.ndarray, score: np.ndarray) -> float:
    """Returns the rank (Spearman) correlation of labels [N] and scores [N], ties at mean rank; NaN if either is constant."""
    return lcc(scipy.stats.rankdata(label), scipy.stats.rankdata(score))


def rmse(label: np.ndarray, score: np.ndarray) -> float:
    """Returns the root mean square error of scores [N] against labels [N], on the label scale."""
    return float(np.sqrt(np.mean((np.asarray(label) - np.asarray(score)) ** 2)))


def agreement(label: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """Returns LCC, SRCC and RMSE of scores [N] against labels [N]."""
    return {"lcc": lcc(label, score), "srcc": srcc(label, score), "rmse": rmse(label, score)}


def weighted_mean(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the mean of x [N] in each resample, by its weights [R, N]: [R]."""
    return _ratio(weight @ np.asarray(x, np.float64), weight.sum(axis=1))


def weighted_rmse(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns `rmse` of labels [N] and scores [N] in each resample, by its weights [R, N]: [R]."""
    return np.sqrt(weighted_mean((np.asarray(label, np.float64) - score) ** 2, weight))


def weighted_lcc(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns `lcc` in each resample: [R].

    Args:
        label: labels [N], or [R, N] if they differ between resamples.
        score: scores, as the labels.
        weight: weights of the items [R, N].
    """
    centred = []
    for values in (np.asarray(label, np.float64), np.asarray(score, np.float64)):
        total = weight.sum(axis=1)
        mean = _ratio((weight * values).sum(axis=1), total)
        # Rounding of the mean must not give a constant a variance.
        high = np.where(weight > 0, values, -np.inf).max(axis=1, initial=-np.inf)
        low = np.where(weight > 0, values, np.inf).min(axis=1, initial=np.inf)
        centred.append(np.where((high > low)[:, np.newaxis], values - mean[:, np.newaxis], 0.0))
    a, b = centred
    spread = np.sqrt((weight * a * a).sum(axis=1) * (weight * b * b).sum(axis=1))
    return _ratio((weight * a * b).sum(axis=1), spread)


def weighted_srcc(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns `srcc` of labels [N] and scores [N] in each resample, by its weights [R, N]: [R]."""
    return weighted_lcc(_ranks(label, weight), _ranks(score, weight), weight)


def weighted_auc(positive: np.ndarray, value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the area under the ROC curve in each resample.

    It is the probability that a positive item has a larger value than a negative one; ties count half.

    Args:
        positive: whether each item is positive, bool [N].
        value: value of each item [N].
        weight: weights of the items [R, N].

    Returns:
        The AUC [R]; NaN in resamples with one class only.
    """
    order, starts, _ = _ties(value)
    weight = weight[:, order]
    of_positive = np.add.reduceat(weight * positive[order], starts, axis=1)  # [R, distinct values]
    of_negative = np.add.reduceat(weight * ~positive[order], starts, axis=1)
    below = np.cumsum(of_negative, axis=1) - of_negative / 2
    return _ratio((of_positive * below).sum(axis=1), of_positive.sum(axis=1) * of_negative.sum(axis=1))


def precision_recall_f1(
    true_positives: np.ndarray, false_positives: np.ndarray, false_negatives: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns precision, recall and F1.

    Args:
        true_positives: number of true positives TP, any shape.
        false_positives: number of false positives FP, same shape.
        false_negatives: number of false negatives FN, same shape.

    Returns:
        "precision", TP / (TP + FP); "recall", TP / (TP + FN); and "f1", 2 TP / (2 TP + FP + FN). Each has the shape of the
        arguments.
    """
    return {
        "precision": _ratio(true_positives, true_positives + false_positives),
        "recall": _ratio(true_positives, true_positives + false_negatives),
        "f1": _ratio(2 * true_positives, 2 * true_positives + false_positives + false_negatives),
    }


def _ranks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the rank of each value in each resample, ties and copies of an item at their mean rank: [R, N]."""
    order, starts, number = _ties(values)
    count = np.add.reduceat(weight[:, order], starts, axis=1)  # [R, distinct values]
    return (np.cumsum(count, axis=1) - (count - 1) / 2)[:, number]


def _ties(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups equal values.

    Returns:
        The order that sorts the values [N], the position in it at which each distinct value starts, and the number of
        the distinct value of each item [N].
    """
    order = np.argsort(values, kind="stable")
    _, starts, sorted_number = np.unique(np.asarray(values)[order], return_index=True, return_inverse=True)
    number = np.empty_like(sorted_number)
    number[order] = sorted_number
    return order, starts, number


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)
