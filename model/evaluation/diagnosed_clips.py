"""Clips with what a diagnostic model hears in them, and what is truly to be heard."""

from __future__ import annotations

import dataclasses
import functools
import re

import numpy as np

from model.diagnosis import HEARD_CAUSES, Diagnosis, Heard
from model.evaluation.scored_clips import Clip
from model.frame_truth import NO, SECOND_VOICE, UNKNOWN, YES, true_causes, true_speech

# Causes that are other sounds beside the speech. `Clip.speech_snr_db` is the level of the speech against them.
OTHER_SOUNDS = ("noise", "music", SECOND_VOICE)


@dataclasses.dataclass(frozen=True, eq=False)
class DiagnosedClip:
    """A clip, what a model hears in it, and the truth.

    Attributes:
        clip: the clip.
        diagnosis: values of its T frames.
        counted: frames that count for the score: bool [T].
        heard: what is heard in the clip.
        speech: whether each frame has speech: int8 [T], `YES`, `NO` or `UNKNOWN`.
        frame_causes: whether each frame has each cause: int8 [T, 9].
        causes: whether the counted frames have each cause: int8 [9].
    """

    clip: Clip
    diagnosis: Diagnosis
    counted: np.ndarray
    heard: Heard
    speech: np.ndarray
    frame_causes: np.ndarray
    causes: np.ndarray

    def level_over(self, cause: str) -> float | None:
        """Returns the level of the speech over music or a second voice in dB, if there is no other sound; None if unknown.

        That of a second voice is the ratio of the powers of both voices while they speak, which ends its detail. That of music
        is the SNR over the speech.
        """
        if cause == SECOND_VOICE:
            details = [d.detail for d in self.clip.distortions if d.cause == cause]
            match = re.search(r"(-?[\d.]+) dB$", details[0]) if details else None
            return float(match[1]) if match else None
        return self.clip.speech_snr_db

    @property
    def has_speech(self) -> bool:
        """Whether the clip is known to have speech."""
        return bool(self.clip.speech)

    def truth(self, cause: str) -> int:
        """Returns whether the clip has a cause: `YES`, `NO` or `UNKNOWN`."""
        return int(self.causes[HEARD_CAUSES.index(cause)])

    @functools.cached_property
    def hears(self) -> np.ndarray:
        """Whether each cause is heard in the clip: bool [9]."""
        return np.array([cause in self.heard.causes for cause in HEARD_CAUSES])

    @functools.cached_property
    def reached(self) -> np.ndarray:
        """Highest limit of probability at which each cause would still be heard in the clip: float64 [9].

        It is the probability that the required share of the counted frames reaches. A cause is heard if it is at least
        the limit of that cause.
        """
        probabilities = np.sort(self.diagnosis.cause_probabilities[self.counted], axis=0)[::-1]
        shares = (self.diagnosis.limits.share[cause] for cause in HEARD_CAUSES)
        needed = [_needed_frames(share, len(probabilities)) for share in shares]
        return np.array([probabilities[count - 1, index] for index, count in enumerate(needed)], np.float64)


def _needed_frames(share: float, num_frames: int) -> int:
    """Returns the lowest number of frames, from 1 to `num_frames`, that reaches a share of them."""
    return next((count for count in range(1, num_frames) if count / num_frames >= share), num_frames)


def diagnosed_clip(
    clip: Clip, diagnosis: Diagnosis, frame_score: np.ndarray, counted: np.ndarray, best_score: float
) -> DiagnosedClip:
    """Returns a clip with what is heard in it and the truth.

    Args:
        clip: the clip.
        diagnosis: values of its T frames.
        frame_score: scores of its frames: float32 [T].
        counted: frames that count for the score: bool [T], at least one.
        best_score: best score of the scale.
    """
    num_frames = len(frame_score)
    frame_causes = true_causes(clip.distortions if clip.names_causes else None, num_frames)
    return DiagnosedClip(
        clip=clip,
        diagnosis=diagnosis,
        counted=counted,
        heard=diagnosis.pool(frame_score, counted, best_score),
        speech=true_speech(clip.speech, clip.distortions, num_frames),
        frame_causes=frame_causes,
        # YES before UNKNOWN before NO.
        causes=_in_any(frame_causes[counted]),
    )


def _in_any(truth: np.ndarray) -> np.ndarray:
    """Returns the truth of a whole from that of its parts, int8 [T, ...] -> [...]: yes if any is, else unknown if any is."""
    return np.where((truth == YES).any(axis=0), YES, np.where((truth == UNKNOWN).any(axis=0), UNKNOWN, NO)).astype(
        np.int8
    )
