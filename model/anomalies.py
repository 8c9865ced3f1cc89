"""Where a recording goes bad: maximal runs of frames that score below the utterance's local level."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.ndimage

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE

# All in frames of 16 ms.
SMOOTHING = 9
LEVEL_WINDOW = 1251
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
    20 s around, or over all of a shorter utterance; an anomaly is a run of at least 10 frames (160 ms) whose smoothed
    scores lie more than 15 % of the scale's span below that level, and runs less than 10 frames apart are one anomaly.
    A recording that is bad throughout has therefore no anomaly: its score says it.

    Args:
        frame_score: scores of the frames [T].
        scale_span: distance between the ends of the label scale.

    Returns:
        Anomalies in order of time, none touching another. One that ends with frame t ends where that frame does.
    """
    if len(frame_score) < MIN_FRAMES:
        return []
    smooth = scipy.ndimage.median_filter(frame_score, size=SMOOTHING, mode="nearest")
    if len(smooth) <= LEVEL_WINDOW:
        level = np.median(smooth)
    else:
        level = scipy.ndimage.median_filter(smooth, size=LEVEL_WINDOW, mode="reflect")
    low = smooth < level - DROP * scale_span
    runs = np.flatnonzero(np.diff(np.concatenate(([False], low, [False])))).reshape(-1, 2)
    runs = runs[runs[:, 1] - runs[:, 0] >= MIN_FRAMES]
    # Two runs that are closer to each other than either must be long are one stretch.
    breaks = np.flatnonzero(runs[1:, 0] - runs[:-1, 1] >= MIN_FRAMES) + 1
    found = []
    for stretch in np.split(runs, breaks) if len(runs) else ():
        start, end = int(stretch[0, 0]), int(stretch[-1, 1])
        part = frame_score[start:end]
        found.append(
            Anomaly(
                start_s=start * FRAME_SHIFT / SAMPLE_RATE,
                end_s=((end - 1) * FRAME_SHIFT + FRAME_LENGTH) / SAMPLE_RATE,
                mean_score=float(part.mean(dtype=np.float64)),
                min_score=float(part.min()),
            )
        )
    return found
