"""An utterance that is trimmed, and its properties that its pieces get."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from model.diagnosis import (
    CERTAIN_SPEECH,
    FRAME_S,
    HEARD_CAUSES,
    NO_CAUSE,
    SPEECH_THRESHOLD,
    pool_levels,
    speech_length_s,
)
from transforms.audio.no_speech import frames_without_speech
from transforms.elements import FrameFacts
from transforms.marks import NO_SPEECH, UNLIKE, VOICE_PER_CHANNEL
from transforms.scoring import verdicts

# Share of the counted frames of a part from which it has their cause.
CAUSE_SHARE = 0.05
# Columns of `utterances` with the length of the frames that have a cause.
LENGTH_OF_CAUSE = {"music": "music_s", "second_voice": "overlap_s"}


@dataclasses.dataclass(frozen=True)
class TrimmedParent:
    """An utterance that is trimmed.

    Attributes:
        row: its row of `utterances`, and its spans under `spans`.
        frame_score: scores of its frames, float32 [T].
        frame_facts: measurements of its frames.
        speech: probability of speech of its frames, float32 [T]; NaN if the model does not hear speech.
        snr_db: SNR of its frames in dB, float32 [T]; NaN without speech, or if it is unknown.
        c50_db: C50 of its frames in dB, float32 [T]; NaN without speech, or if it is unknown.
        frame_causes: index in `HEARD_CAUSES` of the cause of its frames, or `NO_CAUSE`: int8 [T].
    """

    row: dict[str, Any]
    frame_score: np.ndarray
    frame_facts: FrameFacts
    speech: np.ndarray
    snr_db: np.ndarray
    c50_db: np.ndarray
    frame_causes: np.ndarray

    @property
    def hears_speech(self) -> bool:
        """Whether the model hears speech. It does in all frames or in none."""
        return not np.isnan(self.speech[0])

    def marks_of(self, frames: FrameFacts) -> list[str]:
        """Returns the marks of a part: those of the recording, and `NO_SPEECH` if the levels of its frames prove it."""
        marks = [flag for flag in self.row["flags"] if flag in verdicts.RECORDING_FLAGS]
        if self._is_without_speech or frames_without_speech(frames.power, frames.peak):
            marks.append(NO_SPEECH)
        return [*marks, VOICE_PER_CHANNEL] if self._has_voice_per_channel else marks

    @property
    def _is_without_speech(self) -> bool:
        """Whether the samples prove that the recording has no speech. If the model says so, each part gets its own flag."""
        if NO_SPEECH not in self.row["flags"]:
            return False
        return not verdicts.lacks_speech(self.speech_s(slice(None), CERTAIN_SPEECH), self.row["active_s"])

    @property
    def _has_voice_per_channel(self) -> bool:
        """Whether another channel has a voice. A second voice that only the model hears is in the scored channel."""
        if UNLIKE not in self.row["flags"] or "second_voice" not in self.row["causes"]:
            return False
        others = set(verdicts.CHANNEL_FLAGS) - {UNLIKE}
        return "channel" not in self.row["causes"] or bool(others.intersection(self.row["flags"]))

    def speech_s(self, part: slice, threshold: float = SPEECH_THRESHOLD) -> float | None:
        """Returns the length of the speech in a part, in seconds; None if the model does not hear speech."""
        return speech_length_s(self.speech[part], threshold) if self.hears_speech else None

    def heard_causes(self, part: slice, counted: np.ndarray) -> list[str] | None:
        """Returns the causes of at least 5 % of the counted frames of a part, the most frequent first.

        Args:
            part: frames of the part.
            counted: which of them count, bool [t].

        Returns:
            The causes; None if the model hears neither speech nor a cause in the utterance.
        """
        if not self.hears_speech and (self.frame_causes == NO_CAUSE).all():
            return None
        causes = self.frame_causes[part][counted]
        counts = np.bincount(causes[causes != NO_CAUSE], minlength=len(HEARD_CAUSES))
        frequent = [index for index in np.argsort(-counts, kind="stable").tolist() if counts[index] > 0]
        return [HEARD_CAUSES[index] for index in frequent if counts[index] >= CAUSE_SHARE * len(causes)]

    def heard_values(self, part: slice) -> dict[str, float | None]:
        """Returns what the model hears in a part: `music_s`, `overlap_s`, `snr_db` and `c50_db`, each None if it is unknown."""
        levels = pool_levels(self.speech[part], self.snr_db[part], self.c50_db[part]) if self.hears_speech else {}
        known = {name: level for name, level in levels.items() if not math.isnan(level)}
        return {
            **{column: self._length_s(cause, part) for cause, column in LENGTH_OF_CAUSE.items()},
            "snr_db": known.get("snr_db"),
            "c50_db": known.get("c50_db"),
        }

    def _length_s(self, cause: str, part: slice) -> float | None:
        """Returns the length of a cause in a part, in seconds; None if it is unknown.

        A frame names only its most probable cause, so `frame_causes` miss music under louder noise. The length in the utterance
        counts all its frames with the cause. Those that do not name it must name another one, and are spread evenly over these.
        """
        utterance_s = self.row[LENGTH_OF_CAUSE[cause]]
        if utterance_s is None:
            return None
        named = self.frame_causes == HEARD_CAUSES.index(cause)
        others = (self.frame_causes != NO_CAUSE) & ~named
        if not others.any():
            others = named if named.any() else np.ones_like(named)
        named_s = min(utterance_s, np.count_nonzero(named) * FRAME_S)
        found_s = _share(named, part) * named_s + _share(others, part) * (utterance_s - named_s)
        return min(found_s, len(named[part]) * FRAME_S)

    @property
    def hum_dbfs(self) -> float | None:
        """Level of mains hum in dBFS; None without hum. A part of the recording has it, too."""
        hum_db = self.row["hum_db"]
        return None if hum_db is None else hum_db + self.row["rms_dbfs"]


def _share(frames: np.ndarray, part: slice) -> float:
    """Returns the share of some frames, bool [T], that is in a part; 0 if there are none."""
    return int(np.count_nonzero(frames[part])) / max(1, int(np.count_nonzero(frames)))
