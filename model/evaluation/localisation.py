"""Localisation: anomalies and frame scores of a model against the known spans of noises and faults.

A frame is truly bad if at least half of its 32 ms lies within one noise or fault that covers only a part of the clip. A noise
or fault that covers the whole clip marks no frame, because it lowers the score of the whole clip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from model.anomalies import Anomaly, find_anomalies
from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.metrics import precision_recall_f1, weighted_auc, weighted_mean
from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from model.frame_truth import Distortion


def covered_frames(start_s: float, end_s: float, num_frames: int) -> np.ndarray:
    """Returns whether at least half of each frame (256 of 512 samples) lies within a span: bool [T].

    Args:
        start_s: start of the span in the clip, in seconds.
        end_s: its end, in seconds.
        num_frames: number of frames T of the clip.
    """
    start = np.arange(num_frames) * FRAME_SHIFT
    inside = np.minimum(start + FRAME_LENGTH, end_s * SAMPLE_RATE) - np.maximum(start, start_s * SAMPLE_RATE)
    # Spans are whole numbers of samples, stored in seconds.
    return np.round(inside) >= FRAME_LENGTH // 2


def partial(distortions: Sequence[Distortion], num_frames: int) -> list[Distortion]:
    """Returns the distortions that leave at least one frame of the clip uncovered."""
    return [d for d in distortions if not covered_frames(d.start_s, d.end_s, num_frames).all()]


def bad_frames(distortions: Sequence[Distortion], num_frames: int) -> np.ndarray:
    """Returns whether each frame of a clip is truly bad, bool [T]."""
    bad = np.zeros(num_frames, bool)
    for distortion in partial(distortions, num_frames):
        bad |= covered_frames(distortion.start_s, distortion.end_s, num_frames)
    return bad


def has_known_span(bad: np.ndarray) -> bool:
    """Returns whether some but not all frames are truly bad, bool [T]. Only such a clip can test localisation."""
    return bool(bad.any() and not bad.all())


def anomaly_frames(anomalies: Sequence[Anomaly], num_frames: int) -> np.ndarray:
    """Returns whether each frame lies in an anomaly, bool [T]. An anomaly ends at the end of its last frame."""
    inside = np.zeros(num_frames, bool)
    for anomaly in anomalies:
        first = round(anomaly.start_s * SAMPLE_RATE / FRAME_SHIFT)
        end = round((anomaly.end_s * SAMPLE_RATE - FRAME_LENGTH) / FRAME_SHIFT) + 1
        inside[first:end] = True
    return inside


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the share of the frames in a or b, bool [T] each, that are in both; NaN if a and b are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else float("nan")


@dataclasses.dataclass(frozen=True)
class Localised:
    """Anomalies of a clip according to a model, and its truly bad frames.

    Attributes:
        frame_score: frame scores [T].
        bad: whether each frame is truly bad, bool [T].
        in_anomaly: whether each frame is in an anomaly, bool [T].
        num_anomalies: number of anomalies.
    """

    frame_score: np.ndarray
    bad: np.ndarray
    in_anomaly: np.ndarray
    num_anomalies: int


def localise(
    frame_score: np.ndarray,
    distortions: Sequence[Distortion],
    scale_span: float,
    silent: np.ndarray | None = None,
) -> Localised:
    """Finds the anomalies of a clip, as `audiosieve score` does, and its truly bad frames.

    Args:
        frame_score: frame scores [T].
        distortions: all distortions of the clip.
        scale_span: distance between the ends of the label scale.
        silent: whether a frame has no audible sound, bool [T]; None if all are audible.
    """
    anomalies = find_anomalies(frame_score, scale_span, silent)
    return Localised(
        frame_score,
        bad_frames(distortions, len(frame_score)),
        anomaly_frames(anomalies, len(frame_score)),
        len(anomalies),
    )


def measure_localisation(clips: Sequence[Localised], items: np.ndarray, resamples: Resamples) -> dict[str, Estimate]:
    """Measures how well a model finds the bad frames of clips with a known span.

    Args:
        clips: clips with a known span [N].
        items: indices of these clips in the set [N].
        resamples: resamples of the set.

    Returns:
        "precision", "recall" and "f1": detection of bad frames by anomalies, over the frames of all clips.
        "auc": detection of bad frames by low frame scores, over the frames of all clips.
        "auc_within_clip": mean of the AUC of each clip, which ignores differences of score between clips.
        "iou": mean of `intersection_over_union` of each clip.
    """
    true_positives = np.array([np.count_nonzero(clip.bad & clip.in_anomaly) for clip in clips])
    false_positives = np.array([np.count_nonzero(~clip.bad & clip.in_anomaly) for clip in clips])
    false_negatives = np.array([np.count_nonzero(clip.bad & ~clip.in_anomaly) for clip in clips])
    iou = np.array([intersection_over_union(clip.bad, clip.in_anomaly) for clip in clips])
    within = np.array([weighted_auc(clip.bad, -clip.frame_score, np.ones((1, len(clip.bad))))[0] for clip in clips])

    def of_clips(weight: np.ndarray) -> dict[str, np.ndarray]:
        return {
            **precision_recall_f1(weight @ true_positives, weight @ false_positives, weight @ false_negatives),
            "iou": weighted_mean(iou, weight),
            "auc_within_clip": weighted_mean(within, weight),
        }

    bad = np.concatenate([clip.bad for clip in clips])
    badness = -np.concatenate([clip.frame_score for clip in clips])
    frames_of = np.repeat(items, [len(clip.bad) for clip in clips])
    auc = resamples.estimate(lambda weight: {"auc": weighted_auc(bad, badness, weight)}, frames_of)
    return {**resamples.estimate(of_clips, items), **auc}
