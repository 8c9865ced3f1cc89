"""Finds anomalies: maximal runs of frames that score below the local level of the utterance."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.ndimage

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE

# Lengths in frames of 16 ms.
SMOOTHING = 9
LEVEL_WINDOW = 1251
MIN_FRAMES = 20
MIN_DEEP_FRAMES = 10
JOIN_FRAMES = 25
# Distances below the local level, as shares of the label scale: of every frame of an anomaly, and of its deep frames. They
# and the lengths were chosen on bursts of noise in speech of the training split. DEEP excludes harmless dips; LOW sets
# the ends of an anomaly.
LOW, DEEP = 0.16, 0.20


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """A part of an utterance that scores far below the rest.

    Attributes:
        start_s: start in seconds from the start of the utterance.
        end_s: end in seconds from the start of the utterance.
        mean_score: mean of its frame scores.
        min_score: minimum of its frame scores.
    """

    start_s: float
    end_s: float
    mean_score: float
    min_score: float


def find_anomalies(frame_score: np.ndarray, scale_span: float) -> list[Anomaly]:
    """Finds the anomalies of an utterance.

    The frame scores are smoothed by a running median of 9 frames (144 ms). The local level is the median of the smoothed
    scores over the surrounding 20 s, or over the whole of a shorter utterance. A frame is low if its smoothed score is more
    than 16 % of the scale below that level. Low frames with fewer than 25 other frames (400 ms) between them form a run. A run
    of at least 20 frames (320 ms) is an anomaly if at least 10 of them are more than 20 % of the scale below the level.
    A recording that is bad throughout has no anomaly; its score is low instead.

    Args:
        frame_score: scores of the frames: float [T].
        scale_span: distance between the ends of the label scale.

    Returns:
        Disjoint anomalies in order of time. Each ends at the end of its last frame.
    """
    if len(frame_score) < MIN_FRAMES:
        return []
    smooth = scipy.ndimage.median_filter(frame_score, size=SMOOTHING, mode="nearest")
    if len(smooth) <= LEVEL_WINDOW:
        level = np.median(smooth)
    else:
        level = scipy.ndimage.median_filter(smooth, size=LEVEL_WINDOW, mode="reflect")
    low, deep = (smooth < level - share * scale_span for share in (LOW, DEEP))
    runs = np.flatnonzero(np.diff(np.concatenate(([False], low, [False])))).reshape(-1, 2)
    breaks = np.flatnonzero(runs[1:, 0] - runs[:-1, 1] >= JOIN_FRAMES) + 1
    deep_before = np.concatenate(([0], np.cumsum(deep)))
    anomalies = []
    for run in np.split(runs, breaks) if len(runs) else ():
        start, end = int(run[0, 0]), int(run[-1, 1])
        if end - start < MIN_FRAMES or deep_before[end] - deep_before[start] < MIN_DEEP_FRAMES:
            continue
        part = frame_score[start:end]
        anomalies.append(
            Anomaly(
                start_s=start * FRAME_SHIFT / SAMPLE_RATE,
                end_s=((end - 1) * FRAME_SHIFT + FRAME_LENGTH) / SAMPLE_RATE,
                mean_score=float(part.mean(dtype=np.float64)),
                min_score=float(part.min()),
            )
        )
    return anomalies
