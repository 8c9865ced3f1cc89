"""Finds the active part of a recording: the frames that a score is pooled over.

Silence says nothing about the quality of speech, but it gets the best frame scores. So silence before and after the speech, and
the inner part of long pauses, are left out. PESQ leaves out leading and trailing silence, too (P.862, start and stop frames).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from model.features import (
    FRAME_SHIFT,
    SAMPLE_RATE,
    FeatureConfig,
    fold,
    frame_power,
    gated_level,
    grid_offset,
    level_of,
    lower_percentile,
    shifted,
    spectrogram,
)

# A frame this far below the gated level is silence, however quiet the background is.
SILENCE_BELOW_DB = 40.0
# A background is silence, too, if it is at least `BACKGROUND_BELOW_DB` below the gated level. Frames count as background up to
# this margin above its estimate.
BACKGROUND_MARGIN_DB, BACKGROUND_BELOW_DB = 6.0, 20.0
# Frames below this are no background but digital silence or the fade to it.
NO_BACKGROUND_BELOW_DB = 50.0
# Shortest activity within a second that is more than a click: 96 ms.
MIN_ACTIVE_FRAMES, NEIGHBOURHOOD_FRAMES = 6, 63
# Longest pause that counts whole. Pauses in fluent speech are mostly shorter.
PAUSE_FRAMES = 32
# The recording's own room ends where the level falls this far below the background within the speech. The silence beyond was
# added, and says nothing about the background.
ROOM_BELOW_DB = 10.0
# Frames at both ends of the active part that do not count. They hold the edge where speech was cut off, which is a click in
# silence and no click at the end of a file, where all frames count. A shorter active part counts whole.
EDGE_FRAMES, EDGE_FROM_FRAMES = 2, 20
# Silence next to the active part that the network gets as context: 64 to 256 ms, and no digital silence, which would make the
# score depend on padding. Fewer frames than 4 are the click of a cut. Without context the scores agree less with PESQ (LCC
# 0.925 instead of 0.932 on noisy clips).
CONTEXT_FRAMES, MIN_CONTEXT_FRAMES, CONTEXT_BELOW_DB = 16, 4, 70.0
# Speech that falls by this much within 5 frames was cut off. The silence after it was added, and is no context.
CUT_DB = 25.0


@dataclasses.dataclass(frozen=True, eq=False)
class Activity:
    """The active and the silent frames of a recording.

    Attributes:
        active: whether each frame is louder than silence and than the background, bool [T].
        counted: whether each frame counts for the score, bool [T]: frames from the first to the last active one, without 2
            frames next to silence and without the inner part of pauses longer than 512 ms. All frames of a recording without
            any active frame.
        shown: whether the network gets each frame, bool [T]: counted frames, and quiet frames next to the active part.
    """

    active: np.ndarray
    counted: np.ndarray
    shown: np.ndarray

    @property
    def lead_s(self) -> float:
        """Silence before the first active frame, in seconds; the whole length if there is none."""
        return _seconds(int(np.argmax(self.active)) if self.active.any() else len(self.active))

    @property
    def trail_s(self) -> float:
        """Silence after the last active frame, in seconds; the whole length if there is none."""
        return _seconds(int(np.argmax(self.active[::-1])) if self.active.any() else len(self.active))

    @property
    def longest_gap_s(self) -> float:
        """Longest silence between active frames, in seconds."""
        return _seconds(int(np.diff(np.flatnonzero(self.active)).max(initial=1)) - 1)

    @property
    def counted_s(self) -> float:
        """Length of the counted frames in seconds; 0 if no frame is active."""
        return _seconds(int(np.count_nonzero(self.counted))) if self.active.any() else 0.0

    def expand(self, scores: np.ndarray) -> np.ndarray:
        """Returns scores of the shown frames [S] or [S, K] as those of all frames: other frames repeat the one before them.

        Raises:
            ValueError: the number of scores differs from that of the shown frames.
        """
        if len(scores) != np.count_nonzero(self.shown):
            raise ValueError(f"{len(scores)} scores for {np.count_nonzero(self.shown)} frames")
        return np.asarray(scores[np.maximum(np.cumsum(self.shown) - 1, 0)])


def _seconds(frames: int) -> float:
    return frames * FRAME_SHIFT / SAMPLE_RATE


def find_activity(power: np.ndarray) -> Activity:
    """Finds the active frames of a recording.

    A frame is silent if it is 40 dB below the gated level. If the background noise is at least 20 dB below the gated level,
    frames up to 6 dB above the background are silent, too. The background is the 10th percentile of the frames that are at most
    50 dB below the gated level, without silence that was added around the recording. Activity of less than 6 frames (96 ms)
    within a second is a click, not speech.

    Args:
        power: mean square of each frame (`features.frame_power`): float [T].
    """
    active = _louder_than_silence(power, power, power)
    if active.any():
        # Added silence lowers the gate of the level and hides the background. Without it, padding does not change which frames
        # are active.
        active = _louder_than_silence(power, power[active], power[_own_room(power, active)])
    counted = _counted(active)
    return Activity(active, counted, counted | _context(power, active))


def _louder_than_silence(power: np.ndarray, sound: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Returns whether each frame is active, bool [T].

    Args:
        power: power of all frames: float [T].
        sound: power of the frames that set the level.
        room: power of the frames that set the background.
    """
    level = gated_level(sound) ** 2
    threshold = level * _ratio(-SILENCE_BELOW_DB)
    background = _background(room, level)
    if background is not None:
        threshold = max(threshold, min(background * _ratio(BACKGROUND_MARGIN_DB), level * _ratio(-BACKGROUND_BELOW_DB)))
    active = power > threshold
    before = np.concatenate(([0], np.cumsum(active)))
    position, reach = np.arange(len(active)), NEIGHBOURHOOD_FRAMES // 2
    nearby = before[np.minimum(position + reach + 1, len(active))] - before[np.maximum(position - reach, 0)]
    return np.asarray(active & (nearby >= min(MIN_ACTIVE_FRAMES, len(power))))


def _background(power: np.ndarray, level: float) -> float | None:
    """Returns the power of the background of frames, or None if all frames are silent. `level` is the power of the speech."""
    audible = power[power > level * _ratio(-NO_BACKGROUND_BELOW_DB)]
    return lower_percentile(audible, 10) if len(audible) else None


def _own_room(power: np.ndarray, active: np.ndarray) -> slice:
    """Returns the frames of the recording without added silence: the active part and the room around it."""
    first, last = _ends(active)
    background = _background(power[first : last + 1], gated_level(power[active]) ** 2)
    if background is None:
        return slice(first, last + 1)
    added = power < background * _ratio(-ROOM_BELOW_DB)
    before, after = np.flatnonzero(added[:first]), np.flatnonzero(added[last + 1 :])
    return slice(int(before[-1]) + 1 if len(before) else 0, last + 1 + int(after[0]) if len(after) else len(power))


def _ends(active: np.ndarray) -> tuple[int, int]:
    """Returns the first and the last active frame."""
    return int(np.argmax(active)), len(active) - 1 - int(np.argmax(active[::-1]))


def _counted(active: np.ndarray) -> np.ndarray:
    positions = np.flatnonzero(active)
    if not len(positions):
        return np.ones(len(active), bool)
    first, last = _ends(active)
    edge = EDGE_FRAMES if last - first >= EDGE_FROM_FRAMES else 0
    counted = np.zeros(len(active), bool)
    counted[first + edge * (first > 0) : last + 1 - edge * (last < len(active) - 1)] = True
    gaps = np.flatnonzero(np.diff(positions) > PAUSE_FRAMES + 1)
    for gap in gaps.tolist():
        counted[positions[gap] + 1 + PAUSE_FRAMES // 2 : positions[gap + 1] - PAUSE_FRAMES // 2] = False
    return counted


def _context(power: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Returns whether each frame is context of the active part, or one of its edge frames next to context, bool [T]."""
    context = np.zeros(len(active), bool)
    if not active.any():
        return context
    first, last = _ends(active)
    audible = power > gated_level(power[active]) ** 2 * _ratio(-CONTEXT_BELOW_DB)
    before = _leading(audible[max(0, first - CONTEXT_FRAMES) : first][::-1])
    if before >= MIN_CONTEXT_FRAMES:
        context[first - before : first + EDGE_FRAMES] = True
    after = _leading(audible[last + 1 : last + 1 + CONTEXT_FRAMES])
    if after >= MIN_CONTEXT_FRAMES and not _is_cut(power, last):
        context[last + 1 - EDGE_FRAMES : last + 1 + after] = True
    return context


def _leading(values: np.ndarray) -> int:
    """Returns the number of true values before the first false one."""
    return len(values) if values.all() else int(np.argmin(values))


def _is_cut(power: np.ndarray, last: int) -> bool:
    """Returns whether the speech was cut off at its last active frame, or the recording ends there."""
    before, after = power[max(0, last - 4) : max(0, last - 1)], power[last + 3 : last + 4]
    return not len(before) or not len(after) or float(after[0]) <= float(before.mean()) * _ratio(-CUT_DB)


def _ratio(decibels: float) -> float:
    return float(10 ** (decibels / 10))


def shown_spectrogram(samples: np.ndarray, config: FeatureConfig) -> tuple[np.ndarray, Activity]:
    """Computes the spectrogram of the frames of a recording that the network gets.

    Args:
        samples: mono samples at 16 kHz without DC offset: float [n].
        config: parameters of the spectrogram.

    Returns:
        Spectrogram of the shown frames: float32 [S, 257], and the activity of all frames.

    Raises:
        FeatureError: the samples have no features.
    """
    aligned = shifted(samples, grid_offset(fold(samples)))
    power = frame_power(aligned)
    activity = find_activity(power)
    level = level_of(power[activity.counted], config)
    return spectrogram(aligned, config, level)[activity.shown], activity
