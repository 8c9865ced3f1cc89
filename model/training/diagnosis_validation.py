"""Measures the diagnoses of a network on the split `val`, and finds when a cause is heard."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from model.diagnosis import HEARD_CAUSES, HIGHEST_DB, RATINGS, CauseLimits, Diagnosis
from model.evaluation.metrics import agreement, lcc, weighted_auc
from model.frame_truth import NO, UNKNOWN, YES

# Names of the measures beside those of the scores.
MEASURES = ("speech_auc", "cause_f1", "snr_mae_db", "c50_mae_db", "mos_lcc")
# Shares of the frames of an utterance that are tried as limits.
SHARES = np.arange(1, 51) / 100
# Limits of probability outside this range would follow the noise of few clips.
LOWEST_PROBABILITY, HIGHEST_PROBABILITY = 0.05, 0.95
# Limits of probability that are tried above the best one for frames.
PROBABILITIES = np.arange(2, 19) / 20
# Largest share of usable clips with a false cause. A rule that drops the cause loses these clips.
MOST_FALSE = 0.05
# With fewer usable clips of a kind, their share of false causes says little.
MIN_USABLE = 10
BAND_LIMIT = HEARD_CAUSES.index("band_limit")


@dataclasses.dataclass(frozen=True, eq=False)
class ValidatedClip:
    """A clip of the split `val` with its labels and predictions.

    Attributes:
        labels: labels of its T frames (`diagnosis_labels`).
        score: predicted score.
        frame_score: predicted frame scores: float32 [T].
        values: predicted values, in the order of `diagnosis.FRAME_VALUES`: float32 [T, 15].
    """

    labels: dict[str, np.ndarray]
    score: float
    frame_score: np.ndarray
    values: np.ndarray

    @property
    def cause_probabilities(self) -> np.ndarray:
        """Probability of each cause in each frame: float32 [T, 9]."""
        return self.values[:, 1 : 1 + len(HEARD_CAUSES)]


def split_batch(labels: dict[str, np.ndarray], outputs: dict[str, np.ndarray], mask: np.ndarray) -> list[ValidatedClip]:
    """Returns the clips of a batch without padding.

    Args:
        labels: padded labels [B, ...].
        outputs: outputs of the network: "score" [B], "frame_score" [B, T] and "diagnosis" [B, T, 15].
        mask: true at real frames [B, T].
    """
    of_frames = ("frame_score", "speech", "causes")
    return [
        ValidatedClip(
            {name: value[row][:length] if name in of_frames else value[row] for name, value in labels.items()},
            float(outputs["score"][row]),
            outputs["frame_score"][row, :length],
            outputs["diagnosis"][row, :length],
        )
        for row, length in enumerate(mask.sum(axis=1).tolist())
    ]


def calibrate(clips: Sequence[ValidatedClip]) -> CauseLimits:
    """Finds the limits of each cause: the best F1 over frames and over clips, with few false causes in usable clips.

    Of the limits that find the cause in at most `MOST_FALSE` of the clips without a cause and of those with `band_limit` alone,
    it takes those with the largest sum of both F1. Speech of a telephone is good of its kind, and a network easily takes it for
    coded. The lowest probability that is tried is the one with the best F1 over the frames.

    A cause without a clip that has it keeps the default limits.

    Args:
        clips: clips of speakers that the network was not trained on.
    """
    limits = CauseLimits.default()
    probability, share = dict(limits.probability), dict(limits.share)
    truth = _clip_truth(clips)
    for index, cause in enumerate(HEARD_CAUSES):
        if (truth[:, index] == YES).any():
            probability[cause], share[cause] = _best_limits(clips, truth, index)
    return CauseLimits(probability, share)


def measure(clips: Sequence[ValidatedClip], limits: CauseLimits, best_score: float) -> dict[str, float]:
    """Measures scores and diagnoses.

    Args:
        clips: clips of the split `val`.
        limits: when a cause is heard.
        best_score: best score of the scale.

    Returns:
        "lcc", "srcc" and "rmse" of the scores; "speech_auc" over frames; "cause_f1", the mean over the causes of the F1 over
        frames; "snr_mae_db" and "c50_mae_db", mean absolute errors over clips with less than `HIGHEST_DB`; and "mos_lcc", the
        correlation of `mos_ovrl` with its labels. NaN where there are no labels.
    """
    labels, scores = np.array([clip.labels["score"] for clip in clips]), np.array([clip.score for clip in clips])
    is_scored = np.isfinite(labels)
    speech = np.concatenate([clip.labels["speech"] for clip in clips])
    probability = np.concatenate([clip.values[:, 0] for clip in clips])
    known = speech != UNKNOWN
    f1 = [_frame_f1(clips, index, limits.probability[cause]) for index, cause in enumerate(HEARD_CAUSES)]
    measures = dict.fromkeys(("lcc", "srcc", "rmse"), float("nan"))
    if is_scored.any():
        measures = agreement(labels[is_scored], scores[is_scored])
    return {
        **measures,
        "speech_auc": float(weighted_auc(speech[known] == YES, probability[known], np.ones((1, known.sum())))[0])
        if known.any()
        else float("nan"),
        "cause_f1": _mean([value for value in f1 if np.isfinite(value)]),
        **_utterance_measures(clips, limits, best_score),
    }


def _utterance_measures(clips: Sequence[ValidatedClip], limits: CauseLimits, best_score: float) -> dict[str, float]:
    heard = [
        Diagnosis(clip.values, limits).pool(clip.frame_score, np.ones(len(clip.values), bool), best_score)
        for clip in clips
    ]
    errors: dict[str, list[float]] = {name: [] for name in HIGHEST_DB}
    for clip, one in zip(clips, heard, strict=True):
        for name, true_db in zip(HIGHEST_DB, clip.labels["levels_db"].tolist(), strict=True):
            value = getattr(one, name)
            if np.isfinite(true_db) and true_db < HIGHEST_DB[name] and value is not None:
                errors[name].append(abs(value - true_db))
    overall = np.array([clip.labels["ratings"][RATINGS.index("mos_ovrl")] for clip in clips])
    predicted, rated = np.array([one.mos_ovrl for one in heard]), np.isfinite(overall)
    return {
        "snr_mae_db": _mean(errors["snr_db"]),
        "c50_mae_db": _mean(errors["c50_db"]),
        "mos_lcc": lcc(overall[rated], predicted[rated]) if rated.any() else float("nan"),
    }


def _cause_frames(clips: Sequence[ValidatedClip], index: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the known labels of a cause and its predicted probabilities, for the frames of all clips."""
    truth = np.concatenate([clip.labels["causes"][:, index] for clip in clips])
    predicted = np.concatenate([clip.cause_probabilities[:, index] for clip in clips])
    return truth[truth != UNKNOWN], predicted[truth != UNKNOWN]


def _best_probability(is_true: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the limit with the best F1."""
    order = np.argsort(-predicted, kind="stable")
    hits = np.cumsum(is_true[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + np.count_nonzero(is_true))
    # A limit takes all frames of its probability.
    last_of_ties = np.append(np.diff(predicted[order]) != 0, True)
    best = predicted[order][np.argmax(np.where(last_of_ties, f1, -1.0))]
    return round(float(np.clip(best, LOWEST_PROBABILITY, HIGHEST_PROBABILITY)), 4)


def _best_limits(clips: Sequence[ValidatedClip], truth: np.ndarray, index: int) -> tuple[float, float]:
    """Returns the limits of probability and share of a cause with the best F1 and few false causes (`calibrate`).

    Clips of which it is not known whether they have the cause do not count. Without limits that give few false causes, it
    returns those with the fewest.

    Args:
        clips: clips.
        truth: causes of the clips (`_clip_truth`).
        index: index of the cause.
    """
    frame_truth, frame_predicted = _cause_frames(clips, index)
    best = _best_probability(frame_truth == YES, frame_predicted)
    is_known = truth[:, index] != UNKNOWN
    known = [clip.cause_probabilities[:, index] for clip, one in zip(clips, is_known, strict=True) if one]
    truth = truth[is_known]
    others_are_absent = (np.delete(truth, BAND_LIMIT, axis=1) == NO).all(axis=1)
    kinds = [others_are_absent & (truth[:, BAND_LIMIT] == band) & (truth[:, index] == NO) for band in (NO, YES)]
    usable = [kind for kind in kinds if np.count_nonzero(kind) >= MIN_USABLE]
    tried: list[tuple[float, float, float, float]] = []
    for limit in (best, *PROBABILITIES[best < PROBABILITIES].tolist()):
        heard = np.array([np.mean(one >= limit) for one in known])[:, np.newaxis] >= SHARES
        false = np.max([np.zeros(len(SHARES)), *(heard[kind].mean(axis=0) for kind in usable)], axis=0)
        excess = np.maximum(false - MOST_FALSE, 0.0)
        f1 = _f1(truth[:, [index]] == YES, heard) + _f1(frame_truth == YES, frame_predicted >= limit)
        tried += zip(excess.tolist(), (-f1).tolist(), itertools.repeat(limit), SHARES.tolist(), strict=False)
    *_, limit, share = min(tried)
    return limit, share


def _clip_truth(clips: Sequence[ValidatedClip]) -> np.ndarray:
    """Returns for each clip and cause `YES` if any frame has it, `NO` if all frames are without, else `UNKNOWN`: int [N, 9]."""
    labels = [clip.labels["causes"] for clip in clips]
    has = np.array([(one == YES).any(axis=0) for one in labels])
    lacks = np.array([(one == NO).all(axis=0) for one in labels])
    return np.where(has, YES, np.where(lacks, NO, UNKNOWN))


def _frame_f1(clips: Sequence[ValidatedClip], index: int, probability: float) -> float:
    """Returns the F1 of a cause over the frames of all clips; NaN if no frame has the cause."""
    truth, predicted = _cause_frames(clips, index)
    return float(_f1(truth == YES, predicted >= probability)) if (truth == YES).any() else float("nan")


def _f1(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns the F1 along the first axis: bool [N] or [N, 1] and bool [N, ...] -> [...]."""
    hits = (truth & predicted).sum(axis=0)
    return np.asarray(2 * hits / np.maximum(truth.sum(axis=0) + predicted.sum(axis=0), 1))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
