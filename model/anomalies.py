"""Where a recording goes bad: maximal runs of frames that score below the utterance's local level."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.ndimage

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE

# All in frames of 16 ms.
SMOOTHING = 9
LEVEL_WINDOW = 1251
MIN_FRAMES = 20
MIN_DEEP_FRAMES = 10
JOIN_FRAMES = 25
# Shares of the label scale that frames must lie below the local level: all of a stretch, and its deep ones. Chosen, as the
# lengths above, on bursts of noise in speech of the training split: the second keeps harmless sags out, the first finds
# the ends of what is one.
LOW, DEEP = 0.16, 0.20


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
    20 s around, or over all of a shorter utterance. Frames whose smoothed scores lie more than 16 % of the scale's span
    below that level are low; low frames with less than 25 others (400 ms) between them are one stretch; and a stretch of at
    least 20 frames (320 ms), 10 of which lie more than 20 % below the level, is an anomaly.
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
    low, deep = (smooth < level - share * scale_span for share in (LOW, DEEP))
    runs = np.flatnonzero(np.diff(np.concatenate(([False], low, [False])))).reshape(-1, 2)
    breaks = np.flatnonzero(runs[1:, 0] - runs[:-1, 1] >= JOIN_FRAMES) + 1
    deep_before = np.concatenate(([0], np.cumsum(deep)))
    found = []
    for stretch in np.split(runs, breaks) if len(runs) else ():
        start, end = int(stretch[0, 0]), int(stretch[-1, 1])
        if end - start < MIN_FRAMES or deep_before[end] - deep_before[start] < MIN_DEEP_FRAMES:
            continue
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
