"""Divides an utterance into segments of speech of limited length, and says why each other part is dropped.

Positions are points: point k lies k frame shifts (16 ms) after the start of the utterance, and the last point is its end. Frame
t covers the points t to t + 2. A segment starts and ends at points in pauses of at least 0.2 s. A shorter gap may be the
closure of a plosive inside a word.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.segmentation import runs_of
from transforms.corpus.word_times import Word, cut_tolerance_us
from transforms.curation.rules import SEGMENT_EDGE, SEGMENT_LONG, SEGMENT_PAUSE, SEGMENT_SHORT, TRIM
from transforms.curation.trimming.plan import SegmentLimits
from transforms.curation.trimming.spans import SHIFT_US

# Shortest gap between words that is a pause: 208 ms.
MIN_PAUSE_FRAMES = 13
# Longest pause inside a segment (2 s), and the part of a pause that a segment has before and after its speech (256 ms).
MAX_PAUSE, MARGIN = 125, 16
# Costs of a division, in points of pauses that stay inside segments. A pause of more than 1 s is worth a cut; speech is never
# lost for a better cut.
_SEGMENT_COST, _LOSS_COST = 63, 1_000
# Labels of the parts between two points. Segments have the labels from `_FIRST_SEGMENT` on.
_REASONS = (SEGMENT_PAUSE, SEGMENT_EDGE, SEGMENT_SHORT, SEGMENT_LONG, TRIM)
_PAUSE, _EDGE, _SHORT, _LONG, _BAD, _FIRST_SEGMENT = range(6)


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an utterance.

    Attributes:
        start: first point.
        end: last point.
        start_us: start in the utterance, in microseconds.
        end_us: end in the utterance, in microseconds.
        reason: why it is dropped; None for a segment.
    """

    start: int
    end: int
    start_us: int
    end_us: int
    reason: str | None


def find_segments(
    speech: np.ndarray,
    level_dbfs: np.ndarray,
    duration_us: int,
    limits: SegmentLimits,
    bad: Sequence[tuple[int, int]] = (),
    words: Sequence[Word] = (),
) -> list[Part]:
    """Divides an utterance into segments.

    Each segment lies between two bad stretches, has a length within the limits and no pause of more than 2 s, and starts and
    ends in a pause, or where the utterance itself starts or ends. It has up to 256 ms of the pauses around it. As little
    speech as possible is dropped. Pauses of more than 1 s are cut if the speech on both sides is long enough; other pauses
    only where a segment would be too long, and there the longest ones.

    Args:
        speech: whether each frame has speech, bool [T].
        level_dbfs: level of each frame in dBFS, float [T]. A short pause is cut where it is quietest.
        duration_us: length of the utterance in microseconds.
        limits: limits of the length of a segment.
        bad: start and end of stretches that no segment may have, in microseconds.
        words: words of the utterance; none of them is cut.

    Returns:
        The parts of the utterance in order, from its start to its end: segments, and parts that are dropped.
    """
    last = len(speech) + 1
    times_us = np.arange(last + 1, dtype=np.int64) * SHIFT_US
    times_us[last] = duration_us
    allowed = between_words(words, last)
    cuts = _Cuts(_pauses(speech, allowed), allowed, level_dbfs)
    labels = np.full(last, _PAUSE, np.int32)
    for (_, start), (end, _) in itertools.pairwise(cuts.pauses):
        labels[start:end] = _EDGE
    limits_us = round(limits.min_s * 1e6), round(limits.max_s * 1e6)
    segments: list[tuple[int, int]] = []
    for start, end in _between(bad, last):
        islands = cuts.islands(start, end)
        for island in islands:
            length_us = times_us[island.end] - times_us[island.start]
            labels[island.first : island.last] = _LONG if length_us > limits_us[1] else _SHORT
        groups = _groups(islands, times_us, limits_us)
        segments += [(islands[first].start, islands[end - 1].end) for first, end in groups]
    for start_us, end_us in bad:
        labels[start_us // SHIFT_US : -(-end_us // SHIFT_US)] = _BAD
    for number, (start, end) in enumerate(segments):
        labels[start:end] = _FIRST_SEGMENT + number
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), last]
    return [
        Part(start, end, int(times_us[start]), int(times_us[end]), _REASONS[label] if label < _FIRST_SEGMENT else None)
        for start, end, label in zip(edges, edges[1:], labels[edges[:-1]].tolist(), strict=False)
    ]


def between_words(words: Sequence[Word], last: int) -> np.ndarray:
    """Returns whether each point lies in no word, bool [last + 1]. The first and the last point always do."""
    inside = np.zeros(last + 2, np.int32)
    for word in words:
        tolerance_us = cut_tolerance_us(word)
        first = (round(word.start_s * 1e6) + tolerance_us) // SHIFT_US + 1
        end = -(-(round(word.end_s * 1e6) - tolerance_us) // SHIFT_US)
        if end > first:
            inside[min(max(first, 0), last + 1)] += 1
            inside[min(max(end, 0), last + 1)] -= 1
    allowed = np.cumsum(inside[:-1]) == 0
    allowed[[0, last]] = True
    return allowed


def _pauses(speech: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    """Returns the first and the last silent point of each pause that has an allowed point.

    The start and the end of the utterance always belong to a pause, perhaps of one point.
    """
    num_frames = len(speech)
    pauses = []
    for start, end in runs_of(~speech).tolist():
        if end - start < MIN_PAUSE_FRAMES and start > 0 and end < num_frames:
            continue
        # The frame before the pause reaches two points far.
        first, last = (start + 1 if start else 0), (end if end < num_frames else num_frames + 1)
        if allowed[first : last + 1].any():
            pauses.append((first, last))
    if not pauses or pauses[0][0] > 0:
        pauses.insert(0, (0, 0))
    if pauses[-1][1] < num_frames + 1:
        pauses.append((num_frames + 1, num_frames + 1))
    return pauses


def _between(bad: Sequence[tuple[int, int]], last: int) -> list[tuple[int, int]]:
    """Returns the first and the last point of each stretch between bad ones."""
    stretches, start = [], 0
    for start_us, end_us in sorted(bad):
        end = min(start_us // SHIFT_US, last)
        if end > start:
            stretches.append((start, end))
        start = max(start, min(-(-end_us // SHIFT_US), last))
    return [*stretches, (start, last)] if start < last else stretches


@dataclasses.dataclass(frozen=True)
class _Island:
    """Speech between two pauses.

    Attributes:
        first, last: first and last point of the speech.
        start, end: where a segment starts that begins with it, and ends that ends with it.
        pause: length of the pause before it, in points.
    """

    first: int
    last: int
    start: int
    end: int
    pause: int


class _Cuts:
    """The points where an utterance can be cut.

    Args:
        pauses: first and last silent point of each pause.
        allowed: whether each point may be a cut, bool [P].
        level_dbfs: level of each frame, float [T].
    """

    def __init__(self, pauses: list[tuple[int, int]], allowed: np.ndarray, level_dbfs: np.ndarray) -> None:
        self.pauses = pauses
        self._firsts, self._lasts = ([pause[end] for pause in pauses] for end in (0, 1))
        self._allowed = np.flatnonzero(allowed)
        self._level_dbfs = level_dbfs

    def islands(self, start: int, end: int) -> list[_Island]:
        """Returns the islands of speech that lie in a stretch as a whole, with a pause on both sides.

        Args:
            start: first point of the stretch.
            end: last point of the stretch.
        """
        first, stop = bisect.bisect_left(self._lasts, start), bisect.bisect_right(self._firsts, end)
        points = [self._points(pause, start, end) for pause in self.pauses[first:stop]]
        # Only the outer pauses can reach beyond the stretch.
        if points and not len(points[0]):
            first, points = first + 1, points[1:]
        if points and not len(points[-1]):
            stop, points = stop - 1, points[:-1]
        pauses = self.pauses[first:stop]
        cuts = [self._cut(pause, inside) for pause, inside in zip(pauses, points, strict=True)]
        if len(cuts) > 1:  # a segment that begins or ends here has nothing beyond these pauses to share them with
            cuts[0] = (cuts[0][0], _at_least(points[0], pauses[0][1] - MARGIN))
            cuts[-1] = (_at_most(points[-1], pauses[-1][0] + MARGIN), cuts[-1][1])
        return [
            _Island(before[1], after[0], cut[1], next_cut[0], before[1] - before[0])
            for (before, after), (cut, next_cut) in zip(
                itertools.pairwise(pauses), itertools.pairwise(cuts), strict=True
            )
        ]

    def _points(self, pause: tuple[int, int], start: int, end: int) -> np.ndarray:
        """Returns the points of a pause in a stretch where it may be cut: int64 [N]."""
        first, last = max(pause[0], start), min(pause[1], end)
        return self._allowed[np.searchsorted(self._allowed, first) : np.searchsorted(self._allowed, last, "right")]

    def _cut(self, pause: tuple[int, int], points: np.ndarray) -> tuple[int, int]:
        """Returns where the segment before a pause ends, and where the segment after it starts."""
        end, start = _at_most(points, pause[0] + MARGIN), _at_least(points, pause[1] - MARGIN)
        if end <= start:
            return end, start
        # The ends of the pause are less certain to be silent than its middle half.
        quarter = (pause[1] - pause[0]) // 4
        middle = points[(points >= pause[0] + quarter) & (points <= pause[1] - quarter)]
        choices = middle if len(middle) else points
        # The frame before a point has it in its middle.
        frames = np.clip(choices - 1, 0, len(self._level_dbfs) - 1)
        quietest = int(choices[np.argmin(self._level_dbfs[frames])])
        return quietest, quietest


def _at_most(points: np.ndarray, limit: int) -> int:
    """Returns the last point up to a limit, or else the first one."""
    return int(points[max(int(np.searchsorted(points, limit, "right")) - 1, 0)])


def _at_least(points: np.ndarray, limit: int) -> int:
    """Returns the first point from a limit on, or else the last one."""
    return int(points[min(int(np.searchsorted(points, limit)), len(points) - 1)])


def _groups(islands: Sequence[_Island], times_us: np.ndarray, limits_us: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns the first island and the island after the last of each segment; the cheapest division of the islands.

    Args:
        islands: islands of speech in one stretch.
        times_us: time of each point in microseconds.
        limits_us: shortest and longest segment in microseconds.
    """
    starts, ends = ([int(times_us[getattr(island, name)]) for island in islands] for name in ("start", "end"))
    costs, choices = [0], [0]
    for end, island in enumerate(islands, 1):
        # Drop this island.
        cost, choice = costs[-1] + _LOSS_COST * (island.last - island.first), end
        pauses = 0
        for first in range(end - 1, -1, -1):
            length_us = ends[end - 1] - starts[first]
            if length_us > limits_us[1]:
                break
            if length_us >= limits_us[0] and (of_group := costs[first] + _SEGMENT_COST + pauses) < cost:
                cost, choice = of_group, first
            if islands[first].pause > MAX_PAUSE:
                break
            pauses += islands[first].pause
        costs.append(cost)
        choices.append(choice)
    groups, end = [], len(islands)
    while end:
        first = choices[end]
        if first < end:
            groups.append((first, end))
            end = first
        else:
            end -= 1
    return groups[::-1]


def part_row(part: Part, num_frames: int) -> dict[str, Any]:
    """Returns a part as a row of the table of parts; `first_frame` and `last_frame` are the frames inside it."""
    is_last = part.end == num_frames + 1
    return {
        "start_us": part.start_us,
        "end_us": part.end_us,
        "first_frame": part.start,
        "last_frame": num_frames - 1 if is_last else part.end - 2,
        "is_last": is_last,
        "rule": part.reason,
    }
