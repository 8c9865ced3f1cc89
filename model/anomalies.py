"""Finds anomalies: stretches of a recording that are far worse than its own good level, or silent for too long.

docs/reading-a-score.md explains the definition with a figure.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.ndimage

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from model.segmentation import best_stretch, best_stretches, runs_of

# Lengths in frames of 16 ms. The shortest anomaly lasts 304 ms.
MIN_FRAMES = 18
SMOOTHING = 9
# Silence of 4 s inside a recording is longer than the pauses of speech.
MAX_PAUSE = 250
# The constants below were chosen on recordings of the training split: bursts and long stretches of noise, music and rooms
# in clean speech, and recordings that are evenly clean, noisy, reverberant, coded or from a telephone.
# The first estimate of the good level is this quantile of the mean scores of windows of 1 s, which overlap by half.
WINDOW = 62
GOOD_QUANTILE = 0.95
# Shares of the label scale in recordings up to SHORT (5 s) and from LONG frames (2 min): the drop below the good level at which
# a frame counts against the recording, and the mean depth of a stretch. Longer recordings have more harmless dips.
SHORT, LONG = 312, 7500
DROP_SHORT, DROP_LONG = 0.11, 0.33
DEPTH_SHORT, DEPTH_LONG = 0.16, 0.50
# The fluctuation adds to both, up to this share of the label scale.
MAX_FLUCTUATION = 0.3
# Evidence of a frame: its distance below the threshold, in this share of the label scale, within two limits.
EVIDENCE_UNIT = 0.2
MIN_EVIDENCE, MAX_EVIDENCE = -0.3, 1.0
STRETCH_COST = 8.0
# Position of the ends of a stretch between the good level (0) and the level of the stretch (1).
END_DEPTH = 0.6


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """A part of an utterance that is far worse than its good parts, or a silence that is longer than a pause.

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


def find_anomalies(
    frame_score: np.ndarray,
    scale_span: float,
    silent: np.ndarray | None = None,
    known_bad: np.ndarray | None = None,
) -> list[Anomaly]:
    """Finds the anomalies of an utterance.

    An anomaly lasts at least 304 ms. It consists of one or more of these, without a frame between them:

    - a stretch that scores far below the good level of the utterance (`_bad_stretches`), silent frames left out;
    - silence of more than 4 s with audible frames before and after it;
    - frames that are known to be bad.

    A recording that is bad throughout has no anomaly; its score is low instead. Time and memory are linear in T.

    Args:
        frame_score: scores of the frames: float [T].
        scale_span: distance between the ends of the label scale.
        silent: whether a frame has no audible sound, bool [T]; None if all are audible.
        known_bad: whether a frame is bad by other evidence, such as a dropout, bool [T]; None if unknown.

    Returns:
        Disjoint anomalies in order of time. Each ends at the end of its last frame.
    """
    num_frames = len(frame_score)
    bad = np.zeros(num_frames, bool)
    if known_bad is not None:
        bad |= known_bad
    audible = np.arange(num_frames) if silent is None else np.flatnonzero(~silent)
    for before in np.flatnonzero(np.diff(audible) - 1 > MAX_PAUSE):
        bad[audible[before] + 1 : audible[before + 1]] = True
    judged = audible if known_bad is None else audible[~known_bad[audible]]
    for start, end in _bad_stretches(np.asarray(frame_score[judged], np.float64) / scale_span):
        bad[judged[start] : judged[end - 1] + 1] = True
    return [_anomaly(frame_score, start, end) for start, end in runs_of(bad).tolist() if end - start >= MIN_FRAMES]


def _anomaly(frame_score: np.ndarray, start: int, end: int) -> Anomaly:
    part = frame_score[start:end]
    return Anomaly(
        start_s=start * FRAME_SHIFT / SAMPLE_RATE,
        end_s=((end - 1) * FRAME_SHIFT + FRAME_LENGTH) / SAMPLE_RATE,
        mean_score=float(part.mean(dtype=np.float64)),
        min_score=float(part.min()),
    )


def _bad_stretches(scores: np.ndarray) -> list[tuple[int, int]]:
    """Finds the stretches that score far below the good level.

    1. A running median of 9 frames (144 ms) smooths the scores.
    2. The first good level is the 95th percentile of the means of windows of 1 s, so that a stretch may cover most of the
       recording. The first fluctuation is the median of the standard deviations of these windows.
    3. The threshold is the good level minus the drop and the fluctuation. The drop is 11 % of the scale in recordings up to
       5 s and 33 % from 2 min on. It grows with the logarithm of the length in between.
    4. The evidence of a frame is its distance below the threshold, limited on both sides. The stretches are those with the
       largest sum of evidence, minus a cost for each stretch. A short stretch must be deep, and a long one may be shallow.
    5. Steps 3 and 4 are repeated. The good level is now the median of the frames outside the stretches, and the fluctuation is
       its distance from their lower quartile.
    6. The mean score of a stretch must be below the good level by 16 % of the scale (up to 5 s) to 50 % (from 2 min) plus the
       fluctuation.
    7. The ends of a stretch are moved inwards, to where the score crosses 60 % of the way from the good level down to the
       median of the stretch.

    Args:
        scores: scores of the audible frames, in shares of the label scale: float64 [T].

    Returns:
        Start and end of each stretch in frames, disjoint and in order.
    """
    if len(scores) < MIN_FRAMES:
        return []
    smooth = scipy.ndimage.median_filter(scores, size=SMOOTHING, mode="nearest")
    mean, deviation = _windows(smooth)
    good = float(np.quantile(mean, GOOD_QUANTILE, method="inverted_cdf"))
    fluctuation = min(float(np.median(deviation)), MAX_FLUCTUATION)
    drop = _by_length(len(smooth), DROP_SHORT, DROP_LONG)
    stretches = _stretches_below(smooth, good - drop - fluctuation)
    outside = np.ones(len(smooth), bool)
    for start, end in stretches:
        outside[start:end] = False
    rest = smooth[outside]
    if len(rest) >= MIN_FRAMES:
        lower, good = (float(quantile) for quantile in np.quantile(rest, [0.25, 0.5]))
        fluctuation = min(good - lower, MAX_FLUCTUATION)
        stretches = _stretches_below(smooth, good - drop - fluctuation)
    highest_mean = good - _by_length(len(smooth), DEPTH_SHORT, DEPTH_LONG) - fluctuation
    return [
        _trimmed(smooth, start, end, good)
        for start, end in stretches
        if end - start >= MIN_FRAMES and smooth[start:end].mean() < highest_mean
    ]


def _by_length(num_frames: int, short: float, long: float) -> float:
    """Interpolates between the values for short and long recordings, linearly in the logarithm of the length."""
    return float(np.interp(math.log(num_frames), [math.log(SHORT), math.log(LONG)], [short, long]))


def _windows(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of the windows of 1 s, float64 [N] each."""
    size = min(WINDOW, len(scores))
    starts = np.arange(0, len(scores) - size + 1, max(1, size // 2))
    # Sums of distances from the mean, because sums of squares lose precision in long recordings.
    centred = scores - scores.mean()
    sums, squares = (np.concatenate(([0.0], np.cumsum(values))) for values in (centred, centred**2))
    mean = (sums[starts + size] - sums[starts]) / size
    variance = (squares[starts + size] - squares[starts]) / size - mean**2
    return mean + scores.mean(), np.sqrt(np.maximum(variance, 0.0))


def _stretches_below(scores: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    return best_stretches(np.clip((threshold - scores) / EVIDENCE_UNIT, MIN_EVIDENCE, MAX_EVIDENCE), STRETCH_COST)


def _trimmed(scores: np.ndarray, start: int, end: int, good: float) -> tuple[int, int]:
    """Moves the ends of a stretch inwards, to where the score crosses a level between the good one and its own."""
    level = good - END_DEPTH * (good - float(np.median(scores[start:end])))
    first, last = best_stretch(np.clip((level - scores[start:end]) / EVIDENCE_UNIT, -MAX_EVIDENCE, MAX_EVIDENCE))
    return (start + first, start + last) if last - first >= MIN_FRAMES else (start, end)
