"""How the scores of frames become the score of their utterance: by their mean, or by PESQ's own law over frames.

PESQ gives each frame a disturbance, and the score falls with the disturbance of the whole. ITU-T P.862 takes the
L6 norm over 20 frames (320 ms), which half overlap, and the L2 norm over those: a short bad stretch costs more than
its share of time. A frame score, read through the same mapping, is what the whole recording would get if all of it
were like this frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

Pooling = Literal["mean", "pesq"]

# ITU-T P.862: the raw score of no disturbance, and what a unit of either disturbance takes from it.
UNDISTURBED = 4.5
SYMMETRIC_WEIGHT = 0.1
ASYMMETRIC_WEIGHT = 0.0309
# ITU-T P.862.2: from the raw score to MOS-LQO, wide band: LOWEST + RANGE / (1 + exp(-SLOPE * raw + OFFSET)).
LOWEST, RANGE, SLOPE, OFFSET = 0.999, 4.0, 1.3669, 3.8224
# Frames of half a window: a window is 20 frames, and the next begins 10 frames later.
HALF_WINDOW = 10
WINDOW_POWER = 6
# The mapping's ends are never reached: frame scores are held this far from the lower one when it is turned round.
NEAREST = 1e-4


def disturbed(symmetric: Any, asymmetric: Any) -> Any:
    """Both disturbances of P.862 as one, in points of the raw score: 0.1 D + 0.0309 DA."""
    return SYMMETRIC_WEIGHT * symmetric + ASYMMETRIC_WEIGHT * asymmetric


def mos(disturbance: Any, exp: Callable[[Any], Any] = np.exp) -> Any:
    """MOS-LQO, wide band, of a disturbance in points of the raw score: P.862.2's mapping of 4.5 - disturbance.

    Args:
        disturbance: any shape, from 0 up.
        exp: of the library whose arrays they are.
    """
    return LOWEST + RANGE / (1.0 + exp(OFFSET - SLOPE * (UNDISTURBED - disturbance)))


def disturbance_of(score: np.ndarray | float) -> np.ndarray:
    """The disturbance, in points of the raw score, which `mos` maps to a score; 0 for any score of the best and over."""
    held = np.clip(np.asarray(score, np.float64), LOWEST + NEAREST, LOWEST + RANGE - NEAREST)
    raw = (OFFSET - np.log(RANGE / (held - LOWEST) - 1.0)) / SLOPE
    return np.maximum(UNDISTURBED - raw, 0.0)


def pesq_norm(disturbance: np.ndarray) -> float:
    """P.862's norm over frames: L6 over windows of 20 frames, half overlapping, then L2 over the windows.

    A window that the end of the recording cuts is the mean over the frames that it has: what is constant over all
    frames is also its norm, whatever the length. The lower weight of early frames, which P.862 gives from 16 s on, is
    left out: no part of a long recording counts more than another.

    Args:
        disturbance: of each frame [T], T >= 1.
    """
    powers = np.power(np.asarray(disturbance, np.float64), WINDOW_POWER)
    starts = np.arange(0, len(powers), HALF_WINDOW)
    sums, counts = np.add.reduceat(powers, starts), np.diff(np.append(starts, len(powers)))
    # Each window is a half and the next one; the last half is a window by itself.
    windows = (sums + np.append(sums[1:], 0.0)) / (counts + np.append(counts[1:], 0))
    return float(np.sqrt(np.mean(np.power(windows, 2 / WINDOW_POWER))))


def frame_truth(symmetric: np.ndarray, asymmetric: np.ndarray, score: float) -> np.ndarray:
    """True scores of frames: their disturbances through the mapping, in a whole that pools to the true score exactly.

    One norm of the weighted sum is not quite the weighted sum of two norms, and PESQ's own search for delays may find a
    little less to hold against a recording: one factor, within 1/2 and 2, on all disturbances makes up for both.

    Args:
        symmetric: P.862's disturbance of each frame [T].
        asymmetric: its asymmetric one [T].
        score: true MOS-LQO of the whole.

    Returns:
        float32 [T].
    """
    found = disturbed(symmetric, asymmetric)
    norm = pesq_norm(found)
    factor = np.clip(float(disturbance_of(score)) / norm, 0.5, 2.0) if norm > 0 else 1.0
    return np.asarray(mos(found * factor), np.float32)


def pool(frame_score: np.ndarray, pooling: Pooling = "mean") -> float:
    """Score of an utterance from its frame scores.

    Args:
        frame_score: [T], T >= 1.
        pooling: "mean", as in the published networks, or "pesq", the law above.
    """
    if pooling == "mean":
        return float(np.mean(frame_score, dtype=np.float64))
    return float(mos(pesq_norm(disturbance_of(frame_score))))
