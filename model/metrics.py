"""How well predicted scores agree with labels."""

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
