"""Measures of the values that a diagnostic model estimates for a clip: SNR, C50, and ratings of listeners."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.diagnosis import RATINGS
from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.diagnosed_clips import DiagnosedClip
from model.evaluation.metrics import weighted_lcc, weighted_mean, weighted_rmse, weighted_srcc

# Ends of the bins in dB. The first and the last are those of the range that is measured.
SNR_EDGES_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0)
C50_EDGES_DB = (0.0, 10.0, 20.0, 30.0, 40.0)
# A clip is kept from this rating on. Ratings that are this near to it are not judged, as a teacher is not that exact.
KEEP_FROM, KEEP_MARGIN = 3.0, 0.1


def true_and_predicted(clips: Sequence[DiagnosedClip], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the true and the predicted values of clips: float64 [N] each, NaN where there is none.

    Args:
        clips: the clips [N].
        name: "snr_db", "c50_db", or a rating.
    """

    def truth(clip: DiagnosedClip) -> float | None:
        if name in RATINGS:
            return clip.clip.ratings.get(name)
        return clip.clip.speech_snr_db if name == "snr_db" else clip.clip.c50_db

    # None becomes NaN.
    pairs = [(truth(clip), getattr(clip.heard, name)) for clip in clips]
    both = np.array(pairs, np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def measure_decibels(
    clips: Sequence[DiagnosedClip], name: str, edges_db: Sequence[float], resamples: Resamples
) -> dict[str, Any]:
    """Measures the error of SNR or C50 in clips whose true value is in a range.

    Args:
        clips: clips of the set.
        name: "snr_db" or "c50_db".
        edges_db: ends of the bins in dB; the first and the last are the ends of the range.
        resamples: resamples of the set.

    Returns:
        "clips" in the range; "without_value", those without a predicted value, which are left out of the errors; "mae", mean
        absolute error in dB, "bias", mean error in dB, and "lcc"; and the same in "bins", by the ends of each bin. Empty if
        no clip is in the range.
    """
    truth, predicted = true_and_predicted(clips, name)

    def measured(low_db: float, high_db: float) -> dict[str, Any]:
        is_last = high_db == edges_db[-1]
        in_range = (truth >= low_db) & ((truth < high_db) | (is_last & (truth == high_db)))
        items = np.flatnonzero(in_range & np.isfinite(predicted))
        counts = {"clips": int(in_range.sum()), "without_value": int(in_range.sum()) - len(items)}
        return {**counts, **_errors(truth[items], predicted[items], items, resamples)} if in_range.any() else {}

    overall = measured(edges_db[0], edges_db[-1])
    if not overall:
        return {}
    bins = {f"{low:g} to {high:g} dB": measured(low, high) for low, high in itertools.pairwise(edges_db)}
    return {**overall, "bins": {ends: found for ends, found in bins.items() if found}}


def _errors(truth: np.ndarray, predicted: np.ndarray, items: np.ndarray, resamples: Resamples) -> dict[str, Estimate]:
    if not len(items):
        return {}

    def statistic(weight: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "mae": weighted_mean(np.abs(predicted - truth), weight),
            "bias": weighted_mean(predicted - truth, weight),
            "lcc": weighted_lcc(truth, predicted, weight),
        }

    return resamples.estimate(statistic, items)


def measure_rating(clips: Sequence[DiagnosedClip], name: str, resamples: Resamples) -> dict[str, Any]:
    """Measures how well a predicted rating agrees with that of the teacher, in all clips and in "real" recordings only.

    Args:
        clips: clips of the set.
        name: one of `diagnosis.RATINGS`.
        resamples: resamples of the set.

    Returns:
        Number of "clips"; "lcc", "srcc" and "rmse"; "same_decision", the share of the "judged" clips that both ratings keep or
        both drop at 3.0, where the teacher's is not within 0.1 of it; and the same for "real" recordings if there are any.
        Empty if no clip has the rating.
    """
    truth, predicted = true_and_predicted(clips, name)
    rated = np.isfinite(truth)
    is_real = np.array([not clip.clip.known for clip in clips], bool)
    if not rated.any():
        return {}
    measured = _agreement(truth, predicted, np.flatnonzero(rated), resamples)
    if (rated & is_real).any():
        measured["real"] = _agreement(truth, predicted, np.flatnonzero(rated & is_real), resamples)
    return measured


def _agreement(truth: np.ndarray, predicted: np.ndarray, items: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    def statistic(weight: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "lcc": weighted_lcc(truth[items], predicted[items], weight),
            "srcc": weighted_srcc(truth[items], predicted[items], weight),
            "rmse": weighted_rmse(truth[items], predicted[items], weight),
        }

    judged = items[np.abs(truth[items] - KEEP_FROM) > KEEP_MARGIN]
    measured: dict[str, Any] = {"clips": len(items), "judged": len(judged), **resamples.estimate(statistic, items)}
    if len(judged):
        same = (truth[judged] >= KEEP_FROM) == (predicted[judged] >= KEEP_FROM)
        measured |= resamples.estimate(lambda weight: {"same_decision": weighted_mean(same, weight)}, judged)
    return measured
