"""Whether a model finds where a clip is bad: its anomalies and frame scores against spans that are known.

A frame is truly bad where at least half of its 32 ms lies within one noise or fault that does not cover the whole clip. What
covers the whole clip has no place in it: the clip's score says it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from model.anomalies import Anomaly, find_anomalies
from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.metrics import precision_recall_f1, weighted_auc, weighted_mean
from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Distortion:
    """A noise or a fault, and where in a clip it is.

    Attributes:
        kind: "noise", or which fault.
        detail: for people.
        start_s: from the start of the clip.
        end_s: from the start of the clip.
    """

    kind: str
    detail: str
    start_s: float
    end_s: float


def covered_frames(start_s: float, end_s: float, num_frames: int) -> np.ndarray:
    """Which frames [T] lie at least by half (256 of their 512 samples) within a span: bool."""
    start = np.arange(num_frames) * FRAME_SHIFT
    inside = np.minimum(start + FRAME_LENGTH, end_s * SAMPLE_RATE) - np.maximum(start, start_s * SAMPLE_RATE)
    # Spans are whole samples, kept as seconds.
    return np.round(inside) >= FRAME_LENGTH // 2


def partial(distortions: Sequence[Distortion], num_frames: int) -> list[Distortion]:
    """Those that leave some of a clip's frames alone."""
    return [d for d in distortions if not covered_frames(d.start_s, d.end_s, num_frames).all()]


def bad_frames(distortions: Sequence[Distortion], num_frames: int) -> np.ndarray:
    """Which frames [T] of a clip are truly bad, by the rule above: bool."""
    bad = np.zeros(num_frames, bool)
    for distortion in partial(distortions, num_frames):
        bad |= covered_frames(distortion.start_s, distortion.end_s, num_frames)
    return bad


def has_known_span(bad: np.ndarray) -> bool:
    """Whether a clip with these truly bad frames [T] is good and bad in turn: only such a one can test localisation."""
    return bool(bad.any() and not bad.all())


def anomaly_frames(anomalies: Sequence[Anomaly], num_frames: int) -> np.ndarray:
    """Which frames [T] lie in an anomaly: bool. An anomaly ends where its last frame does."""
    found = np.zeros(num_frames, bool)
    for anomaly in anomalies:
        first = round(anomaly.start_s * SAMPLE_RATE / FRAME_SHIFT)
        end = round((anomaly.end_s * SAMPLE_RATE - FRAME_LENGTH) / FRAME_SHIFT) + 1
        found[first:end] = True
    return found


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the frames in either set of frames, bool [T], that are in both; NaN where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else float("nan")


@dataclasses.dataclass(frozen=True)
class Localised:
    """What a model found in a clip, and what is there.

    Attributes:
        frame_score: [T].
        bad: truly bad frames, bool [T].
        found: frames in anomalies, bool [T].
        num_anomalies: how many anomalies.
    """

    frame_score: np.ndarray
    bad: np.ndarray
    found: np.ndarray
    num_anomalies: int


def localise(frame_score: np.ndarray, distortions: Sequence[Distortion], scale_span: float) -> Localised:
    """Finds the anomalies of a clip, as `audiosieve score` does, and sets them against its distortions.

    Args:
        frame_score: scores of the frames [T].
        distortions: all of the clip.
        scale_span: distance between the ends of the model's scale.
    """
    anomalies = find_anomalies(frame_score, scale_span)
    return Localised(
        frame_score,
        bad_frames(distortions, len(frame_score)),
        anomaly_frames(anomalies, len(frame_score)),
        len(anomalies),
    )


def measure_localisation(clips: Sequence[Localised], items: np.ndarray, resamples: Resamples) -> dict[str, Estimate]:
    """How well bad frames are found in clips that are good and bad in turn.

    Args:
        clips: those with a known span.
        items: their numbers in the set.
        resamples: of the set.

    Returns:
        precision, recall and f1 of the frames in anomalies, over the frames of all clips together; auc of the frame
        scores over those frames (a bad frame should have the lower score); auc_within_clip, the mean over the clips
        of each clip's own auc, which does not care for the level of one clip against another; iou, the mean over the
        clips of `intersection_over_union`.
    """
    found = np.array([np.count_nonzero(clip.bad & clip.found) for clip in clips])
    wrongly = np.array([np.count_nonzero(~clip.bad & clip.found) for clip in clips])
    missed = np.array([np.count_nonzero(clip.bad & ~clip.found) for clip in clips])
    iou = np.array([intersection_over_union(clip.bad, clip.found) for clip in clips])
    within = np.array([weighted_auc(clip.bad, -clip.frame_score, np.ones((1, len(clip.bad))))[0] for clip in clips])

    def of_clips(weight: np.ndarray) -> dict[str, np.ndarray]:
        return {
            **precision_recall_f1(weight @ found, weight @ wrongly, weight @ missed),
            "iou": weighted_mean(iou, weight),
            "auc_within_clip": weighted_mean(within, weight),
        }

    bad = np.concatenate([clip.bad for clip in clips])
    badness = -np.concatenate([clip.frame_score for clip in clips])
    frames_of = np.repeat(items, [len(clip.bad) for clip in clips])
    auc = resamples.estimate(lambda weight: {"auc": weighted_auc(bad, badness, weight)}, frames_of)
    return {**resamples.estimate(of_clips, items), **auc}
