"""Pools frame scores into the score of an utterance: by their mean, or by the norms of PESQ over frames.

PESQ gives each frame a disturbance. ITU-T P.862 computes the disturbance of a recording from them: the L6 norm over windows of
20 frames (320 ms) that overlap by half, then the L2 norm over the windows. A short bad part therefore lowers the score by more
than its share of time. A frame score is the score of a recording in which every frame has the disturbance of that frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

Pooling = Literal["mean", "pesq"]

# ITU-T P.862: the raw score without disturbance, and the weights of both disturbances.
BEST_RAW_SCORE = 4.5
SYMMETRIC_WEIGHT = 0.1
ASYMMETRIC_WEIGHT = 0.0309
# ITU-T P.862.2: wide-band MOS-LQO of a raw score: LOWEST + RANGE / (1 + exp(-SLOPE * raw + OFFSET)).
LOWEST, RANGE, SLOPE, OFFSET = 0.999, 4.0, 1.3669, 3.8224
# Frames in half a window. Windows of 20 frames start every 10 frames.
HALF_WINDOW = 10
WINDOW_POWER = 6
# Smallest distance of a score from both ends of the mapping, where its inverse is infinite.
END_MARGIN = 1e-4


def combined_disturbance(symmetric: Any, asymmetric: Any) -> Any:
    """Returns the sum of both disturbances of P.862 in points of the raw score: 0.1 D + 0.0309 DA."""
    return SYMMETRIC_WEIGHT * symmetric + ASYMMETRIC_WEIGHT * asymmetric


def mos(disturbance: Any, exp: Callable[[Any], Any] = np.exp) -> Any:
    """Maps a disturbance to wide-band MOS-LQO, as P.862.2 maps the raw score 4.5 - disturbance.

    Args:
        disturbance: disturbances in points of the raw score, at least 0, of any shape.
        exp: exponential function of the array library.
    """
    return LOWEST + RANGE / (1.0 + exp(OFFSET - SLOPE * (BEST_RAW_SCORE - disturbance)))


def disturbance_of(score: np.ndarray | float) -> np.ndarray:
    """Inverts `mos`: returns the disturbance of scores, in points of the raw score; 0 for the best score and above.

    Args:
        score: scores of wide-band PESQ, of any shape. Those outside the range count as its ends.
    """
    clipped = np.clip(np.asarray(score, np.float64), LOWEST + END_MARGIN, LOWEST + RANGE - END_MARGIN)
    raw = (OFFSET - np.log(RANGE / (clipped - LOWEST) - 1.0)) / SLOPE
    return np.maximum(BEST_RAW_SCORE - raw, 0.0)


def pesq_norm(disturbance: np.ndarray) -> float:
    """Computes the norm of P.862: L6 over windows of 20 frames that overlap by half, then L2 over the windows.

    The last window may be shorter and is the mean over its own frames, so a constant disturbance equals its norm at any
    length. Unlike P.862, early frames of recordings over 16 s do not get a lower weight.

    Args:
        disturbance: disturbance of each frame: float [T], T >= 1.
    """
    powers = np.power(np.asarray(disturbance, np.float64), WINDOW_POWER)
    starts = np.arange(0, len(powers), HALF_WINDOW)
    sums, counts = np.add.reduceat(powers, starts), np.diff(np.append(starts, len(powers)))
    # A window is a half window and the next one. The last half window is a window of its own.
    windows = (sums + np.append(sums[1:], 0.0)) / (counts + np.append(counts[1:], 0))
    return float(np.sqrt(np.mean(np.power(windows, 2 / WINDOW_POWER))))


def true_frame_scores(symmetric: np.ndarray, asymmetric: np.ndarray, score: float) -> np.ndarray:
    """Maps the disturbances of frames to frame scores that pool to the true score of the recording.

    The norm of the weighted sum differs slightly from the weighted sum of two norms. The delay search of PESQ may also find a
    smaller disturbance. One factor between 1/2 and 2 on all disturbances corrects both.

    Args:
        symmetric: symmetric disturbance of each frame: float [T].
        asymmetric: asymmetric disturbance of each frame: float [T].
        score: true MOS-LQO of the recording.

    Returns:
        True score of each frame: float32 [T].
    """
    disturbance = combined_disturbance(symmetric, asymmetric)
    norm = pesq_norm(disturbance)
    factor = np.clip(float(disturbance_of(score)) / norm, 0.5, 2.0) if norm > 0 else 1.0
    return np.asarray(mos(disturbance * factor), np.float32)


def pool(frame_score: np.ndarray, pooling: Pooling = "mean") -> float:
    """Computes the score of an utterance from its frame scores.

    Args:
        frame_score: scores of the frames: float [T], T >= 1.
        pooling: "mean" as in the published networks, or "pesq" for the norms of P.862.
    """
    if pooling == "mean":
        return float(np.mean(frame_score, dtype=np.float64))
    return float(mos(pesq_norm(disturbance_of(frame_score))))
