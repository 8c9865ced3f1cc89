"""Where a recording goes bad: maximal runs of frames that score below the utterance's local level."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.ndimage

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE

# All in frames of 16 ms.
SMOOTHING = 9
LEVEL_WINDOW = 1251
LEVEL_STEP = 64
MIN_FRAMES = 10
# Share of the label scale that a run must lie below the local level.
DROP = 0.15


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """A bad stretch, in seconds from the start of the utterance, with its frame scores' mean and minimum."""

    start_s: float
    end_s: float
    mean_score: float
    min_score: float


def find_anomalies(frame_score: np.ndarray, scale_span: float) -> list[Anomaly]:
    """Finds the bad stretches of an utterance.

    The frame scores are smoothed by a running median of 9 frames (144 ms); the local level is their median over the
    20 s around; an anomaly is a run of at least 10 frames (160 ms) whose smoothed scores lie more than 15 % of the
    scale's span below that level. A recording that is bad throughout has therefore no anomaly: its score says it.

    Args:
        frame_score: scores of the frames [T].
        scale_span: distance between the ends of the label scale.

    Returns:
        Anomalies in order of time, none touching another. One that ends with frame t ends where that frame does.
    """
    if len(frame_score) < MIN_FRAMES:
        return []
    smooth = scipy.ndimage.median_filter(frame_score, size=SMOOTHING, mode="nearest")
    low = smooth < _local_level(smooth) - DROP * scale_span
    edges = np.flatnonzero(np.diff(np.concatenate(([False], low, [False]))))
    found = []
    for start, end in edges.reshape(-1, 2):
        if end - start >= MIN_FRAMES:
            run = frame_score[start:end]
            found.append(
                Anomaly(
                    start_s=float(start * FRAME_SHIFT / SAMPLE_RATE),
                    end_s=float(((end - 1) * FRAME_SHIFT + FRAME_LENGTH) / SAMPLE_RATE),
                    mean_score=float(run.mean()),
                    min_score=float(run.min()),
                )
            )
    return found


def _local_level(smooth: np.ndarray) -> np.ndarray:
    """Running median over `LEVEL_WINDOW` frames: [T] for [T]; computed every `LEVEL_STEP` frames, linear between."""
    half = LEVEL_WINDOW // 2
    centres = np.arange(0, len(smooth) + LEVEL_STEP - 1, LEVEL_STEP).clip(max=len(smooth) - 1)
    medians = [np.median(smooth[max(0, c - half) : c + half + 1]) for c in centres]
    return np.interp(np.arange(len(smooth)), centres, medians)
