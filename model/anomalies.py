"""Finds anomalies: stretches of a recording that are far worse than its own good level, or silent for too long.

docs/reading-a-score.md explains the definition with a figure.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.ndimage

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE, percentiles
from model.segmentation import best_stretch, best_stretches, runs_of

# Lengths in frames of 16 ms. The shortest anomaly lasts 304 ms.
MIN_FRAMES = 18
SMOOTHING = 9
# Silence of 4 s inside a recording is longer than the pauses of speech.
MAX_PAUSE = 250
# The constants below were chosen on recordings of the training split: bursts and long stretches of noise, music and rooms
# in clean speech, and recordings that are evenly clean, noisy, reverberant, coded or from a telephone.
# The first estimate of the good level is this quantile of the mean scores of windows of 512 ms, which overlap by half.
WINDOW = 32
GOOD_QUANTILE = 0.95
# Shares of the label scale in recordings up to SHORT (5 s) and from LONG frames (1 min): the drop below the good level at which
# a frame counts against the recording, and the mean depth of a stretch. Longer recordings have more harmless dips.
SHORT, LONG = 312, 3750
DROP_SHORT, DROP_LONG = 0.11, 0.33
DEPTH_SHORT, DEPTH_LONG = 0.16, 0.48
# The same for a sustained stretch, in recordings of any length. It has 1.6 s of full evidence or more, and may be less deep.
SUSTAINED_DROP, SUSTAINED_DEPTH, SUSTAINED_FRAMES = 0.18, 0.26, 100
# Good frames of 3 s split a sustained stretch.
SUSTAINED_GAP = 187
# The fluctuation adds to all of them, up to this share of the label scale.
MAX_FLUCTUATION = 0.3
# Evidence of a frame: its distance below the threshold, in this share of the label scale, within two limits.
EVIDENCE_UNIT = 0.2
MIN_EVIDENCE, MAX_EVIDENCE = -0.3, 1.0
STRETCH_COST, SUSTAINED_COST = 8.0, 100.0
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
        cause: most frequent cause of damage in its frames; None if none is heard in them.
    """

    start_s: float
    end_s: float
    mean_score: float
    min_score: float
    cause: str | None = None


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


def find_threshold(frame_score: np.ndarray, scale_span: float, judged: np.ndarray) -> float | None:
    """Returns the score below which a frame counts as evidence of a brief bad stretch; None if too few frames are judged.

    Args:
        frame_score: scores of the frames: float [T].
        scale_span: distance between the ends of the label scale.
        judged: whether a frame is audible and not known to be bad, bool [T].
    """
    if np.count_nonzero(judged) < MIN_FRAMES:
        return None
    return find_levels(smoothed(np.asarray(frame_score[judged], np.float64) / scale_span)).threshold * scale_span


def _anomaly(frame_score: np.ndarray, start: int, end: int) -> Anomaly:
    part = frame_score[start:end]
    return Anomaly(
        start_s=start * FRAME_SHIFT / SAMPLE_RATE,
        end_s=((end - 1) * FRAME_SHIFT + FRAME_LENGTH) / SAMPLE_RATE,
        mean_score=float(part.mean(dtype=np.float64)),
        min_score=float(part.min()),
    )


@dataclasses.dataclass(frozen=True)
class Levels:
    """The levels that decide which frames and stretches of a recording are bad.

    Attributes:
        good: level of the good parts.
        fluctuation: how far good parts fluctuate below it.
        threshold: score below which a frame counts as evidence of a brief bad stretch.
        highest_mean: upper limit of the mean score of a brief bad stretch.
    """

    good: float
    fluctuation: float
    threshold: float
    highest_mean: float


def find_levels(smooth: np.ndarray) -> Levels:
    """Finds the good level of a recording, and how far below it a bad stretch must be.

    The first good level is the 95th percentile of the means of windows of 512 ms, so that bad stretches may cover most of the
    recording. The first fluctuation is the median of the standard deviations of these windows. Stretches are found with them.
    Then the good level becomes the median of the other frames, and the fluctuation its distance from their lower quartile.

    Args:
        smooth: smoothed scores of the audible frames, in shares of the label scale: float64 [T], T >= 1.
    """
    mean, deviation = _windows(smooth)
    good = float(np.sort(mean)[math.ceil(len(mean) * GOOD_QUANTILE - 1)])
    (fluctuation,) = percentiles(deviation, [50])
    levels = _levels(good, fluctuation, len(smooth))
    others = _outside(len(smooth), _stretches_below(smooth, levels.threshold, STRETCH_COST))
    # Where sustained stretches take more than half of a recording, they are no exception but its fluctuation.
    better = others & _outside(len(smooth), _sustained_stretches(smooth, levels.good - levels.fluctuation))
    if 2 * np.count_nonzero(better) >= len(smooth):
        others = better
    if np.count_nonzero(others) < MIN_FRAMES:
        return levels
    lower, good = percentiles(smooth[others], [25, 50])
    return _levels(good, good - lower, len(smooth))


def _outside(num_frames: int, stretches: list[tuple[int, int]]) -> np.ndarray:
    """Returns whether each frame is in none of the stretches, bool [T]."""
    outside = np.ones(num_frames, bool)
    for start, end in stretches:
        outside[start:end] = False
    return outside


def _levels(good: float, fluctuation: float, num_frames: int) -> Levels:
    # Linear in the logarithm of the length, between the values for short and long recordings.
    position = math.log(min(max(num_frames, SHORT), LONG) / SHORT) / math.log(LONG / SHORT)
    drop = DROP_SHORT + position * (DROP_LONG - DROP_SHORT)
    depth = DEPTH_SHORT + position * (DEPTH_LONG - DEPTH_SHORT)
    fluctuation = min(fluctuation, MAX_FLUCTUATION)
    return Levels(good, fluctuation, good - fluctuation - drop, good - fluctuation - depth)


def smoothed(scores: np.ndarray) -> np.ndarray:
    """Returns the running median of 9 frames of scores: float64 [T]."""
    return np.asarray(scipy.ndimage.median_filter(np.asarray(scores, np.float64), size=SMOOTHING, mode="nearest"))


def _bad_stretches(scores: np.ndarray) -> list[tuple[int, int]]:
    """Finds the stretches that score far below the good level.

    The evidence of a frame is the distance of its smoothed score below the threshold, limited on both sides. The stretches are
    those with the largest sum of evidence, minus a cost for each stretch. A brief stretch must therefore be deep. A sustained
    stretch may be less deep, because harmless dips are brief.

    Args:
        scores: scores of the audible frames, in shares of the label scale: float64 [T].

    Returns:
        Start and end of each stretch in frames. Brief and sustained stretches may overlap.
    """
    if len(scores) < MIN_FRAMES:
        return []
    smooth = smoothed(scores)
    levels = find_levels(smooth)
    found = [
        (start, end)
        for start, end in _stretches_below(smooth, levels.threshold, STRETCH_COST)
        if end - start >= MIN_FRAMES and smooth[start:end].mean() < levels.highest_mean
    ]
    found += _sustained_stretches(smooth, levels.good - levels.fluctuation)
    return [_trimmed(smooth, start, end, levels.good) for start, end in found]


def _sustained_stretches(smooth: np.ndarray, harmless: float) -> list[tuple[int, int]]:
    """Finds the stretches of 1.6 s and more. `harmless` is the good level minus the fluctuation."""
    threshold = harmless - SUSTAINED_DROP
    bad = ~_outside(len(smooth), _stretches_below(smooth, threshold, SUSTAINED_COST))
    for start, end in runs_of(smooth > threshold):
        if end - start >= SUSTAINED_GAP:
            bad[start:end] = False
    return [
        (start, end)
        for start, end in runs_of(bad).tolist()
        if end - start >= SUSTAINED_FRAMES and smooth[start:end].mean() < harmless - SUSTAINED_DEPTH
    ]


def _windows(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of windows of 512 ms, float64 [N] each."""
    size = min(WINDOW, len(scores))
    starts = np.arange(0, len(scores) - size + 1, max(1, size // 2))
    # Sums of distances from the mean, because sums of squares lose precision in long recordings.
    average = float(scores.sum()) / len(scores)
    centred = scores - average
    sums, squares = (np.concatenate(([0.0], np.cumsum(values))) for values in (centred, centred**2))
    mean = (sums[starts + size] - sums[starts]) / size
    variance = (squares[starts + size] - squares[starts]) / size - mean**2
    return mean + average, np.sqrt(np.maximum(variance, 0.0))


def _stretches_below(scores: np.ndarray, threshold: float, cost: float) -> list[tuple[int, int]]:
    return best_stretches(_evidence(scores, threshold, MIN_EVIDENCE), cost)


def _trimmed(scores: np.ndarray, start: int, end: int, good: float) -> tuple[int, int]:
    """Moves the ends of a stretch inwards, to where the score crosses a level between the good one and its own."""
    level = good - END_DEPTH * (good - percentiles(scores[start:end], [50])[0])
    first, last = best_stretch(_evidence(scores[start:end], level, -MAX_EVIDENCE))
    return (start + first, start + last) if last - first >= MIN_FRAMES else (start, end)


def _evidence(scores: np.ndarray, threshold: float, lowest: float) -> np.ndarray:
    """Returns the evidence that each frame is bad, at least `lowest`, in multiples of 1/1024: float64 [T].

    Sums of such multiples are exact, so that rounding does not decide between two equal stretches.
    """
    evidence = np.minimum(np.maximum((threshold - scores) / EVIDENCE_UNIT, lowest), MAX_EVIDENCE)
    return np.asarray(np.rint(evidence * 1024) / 1024)
