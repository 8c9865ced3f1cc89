"""Truth about each frame of a made clip, for training and for evaluation: the causes of damage and speech."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from model.diagnosis import HEARD_CAUSES
from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE

# Values of a truth.
YES, NO, UNKNOWN = 1, 0, -1
SECOND_VOICE = "second_voice"


@dataclasses.dataclass(frozen=True)
class Distortion:
    """A noise or a fault, and its span in a clip.

    Attributes:
        kind: "noise", or the kind of the fault.
        detail: description of its strength.
        start_s: start in seconds from the start of the clip.
        end_s: end in seconds from the start of the clip.
        cause: its name in `diagnosis.HEARD_CAUSES`; None if it has none, such as an offset, or if the set does not name causes.
        audible: whether a listener would hear it; None if that is uncertain.
    """

    kind: str
    detail: str
    start_s: float
    end_s: float
    cause: str | None = None
    audible: bool | None = None


def touched_frames(start_s: float, end_s: float, num_frames: int) -> np.ndarray:
    """Returns whether each frame has at least 256 samples of a span, half of the frame, or all of a shorter one: bool [T].

    Args:
        start_s: start of the span in the clip, in seconds.
        end_s: its end, in seconds.
        num_frames: number of frames T of the clip.
    """
    start, first, end = np.arange(num_frames) * FRAME_SHIFT, start_s * SAMPLE_RATE, end_s * SAMPLE_RATE
    inside = np.minimum(start + FRAME_LENGTH, end) - np.maximum(start, first)
    # Spans are whole numbers of samples, stored in seconds.
    return np.asarray(np.round(inside) >= max(1, min(FRAME_LENGTH // 2, round(end - first))))


def true_causes(distortions: Sequence[Distortion] | None, num_frames: int) -> np.ndarray:
    """Returns whether each frame has each cause: int8 [T, 9], `YES`, `NO` or `UNKNOWN`.

    An audible distortion counts, an inaudible one does not. One that may be audible makes its frames unknown, unless an audible
    one is there, too.

    Args:
        distortions: all distortions of the clip; None if they are unknown.
        num_frames: number of its frames.
    """
    truth = np.full((num_frames, len(HEARD_CAUSES)), UNKNOWN if distortions is None else NO, np.int8)
    # The audible ones last, because they decide.
    for one in sorted(distortions or (), key=lambda distortion: distortion.audible is True):
        if one.cause is not None and one.audible is not False:
            touched = touched_frames(one.start_s, one.end_s, num_frames)
            truth[touched, HEARD_CAUSES.index(one.cause)] = YES if one.audible else UNKNOWN
    return truth


def true_speech(
    speech: Sequence[tuple[float, float]] | None, distortions: Sequence[Distortion], num_frames: int
) -> np.ndarray:
    """Returns whether each frame has speech: int8 [T], `YES`, `NO` or `UNKNOWN`.

    A frame in which only a second voice may speak is unknown, because the times of its pauses are not.

    Args:
        speech: start and end of each part with speech, in seconds; None if they are unknown.
        distortions: distortions of the clip.
        num_frames: number of its frames.
    """
    if speech is None:
        return np.full(num_frames, UNKNOWN, np.int8)
    truth = np.full(num_frames, NO, np.int8)
    for one in distortions:
        if one.cause == SECOND_VOICE:
            truth[touched_frames(one.start_s, one.end_s, num_frames)] = UNKNOWN
    for start_s, end_s in speech:
        truth[touched_frames(start_s, end_s, num_frames)] = YES
    return truth
