"""The score of one utterance, made from the scores of its frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from model.anomalies import Anomaly, find_anomalies, find_threshold
from model.bundle import Bundle
from model.diagnosis import FRAME_S, HEARD_CAUSES, NO_CAUSE, Diagnosis, Heard
from model.features import FRAME_LENGTH, SAMPLE_RATE, frame_start_s
from model.labels import LabelScale
from model.pooling import Pooling, pool
from transforms.elements import Reject, ScoredUtterance, SignalFacts, Utterance
from transforms.errors import AudioFault
from transforms.scoring import verdicts

# A frame is bad if a dropout covers most of its first half, which is 16 ms long.
DROPPED_S = 0.008


@dataclasses.dataclass(frozen=True, slots=True)
class ModelInfo:
    """The properties of a model that turn frame scores into an utterance score.

    Attributes:
        model_id: name@hash.
        label_scale: scale of the scores.
        pooling: rule that makes one score of the frame scores.
    """

    model_id: str
    label_scale: LabelScale
    pooling: Pooling

    @classmethod
    def of(cls, bundle: Bundle) -> ModelInfo:
        """Returns the properties of a bundle's model."""
        return cls(bundle.model_id, bundle.label_scale, bundle.pooling)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Score:
    """The score of one utterance.

    Attributes:
        score: predicted quality, on `label_scale`.
        frame_score: quality of each frame of 32 ms, one frame every 16 ms: float32 [T], on `label_scale`.
        anomalies: stretches that score far below the good parts, long silences and long dropouts, in order of time.
        flags: reasons to doubt the score, such as "clipped"; `verdicts.flags` defines them.
        causes: faults that the samples prove or the model hears, such as "clipping", worst first; `verdicts.causes` defines
            them.
        diagnosis: what the model hears in each frame; None if it has no diagnosis.
        heard: what the model hears in the utterance: speech, music, a second voice, SNR, C50 and ratings; None if it has no
            diagnosis.
        utterance: decoded utterance, with its source and audio format.
        model: properties of the model.
    """

    score: float
    frame_score: np.ndarray
    anomalies: Sequence[Anomaly]
    flags: Sequence[str]
    causes: Sequence[str]
    utterance: Utterance
    model: ModelInfo
    diagnosis: Diagnosis | None = None
    heard: Heard | None = None

    @property
    def start_s(self) -> np.ndarray:
        """Start of each frame, in seconds from the start of the utterance: float64 [T]."""
        return frame_start_s(np.arange(len(self.frame_score)))

    @property
    def speech(self) -> np.ndarray | None:
        """Probability of speech in each frame: float32 [T]; None if the model does not hear speech."""
        return self.diagnosis.speech if self.diagnosis is not None and self.diagnosis.hears_speech else None

    @property
    def frame_cause(self) -> list[str | None] | None:
        """Most probable cause of damage that the model hears in each frame, or None: [T]. None if it has no diagnosis."""
        if self.diagnosis is None:
            return None
        names = (*HEARD_CAUSES, None)  # NO_CAUSE is -1, the last one
        return [names[index] for index in self.diagnosis.frame_causes().tolist()]

    @property
    def anomaly_threshold(self) -> float | None:
        """Score below which a frame is evidence of an anomaly; None if too few frames are audible."""
        frames = self.utterance.frame_facts
        judged = frames.activity.active & ~is_dropped(frames.dropout_s)
        return find_threshold(self.frame_score, self.label_scale.span, judged)

    @property
    def speech_s(self) -> float:
        """Length of the speech, in seconds; that of the active part if the model does not hear speech."""
        heard_s = None if self.heard is None else self.heard.speech_s
        return self.facts.active_s if heard_s is None else heard_s

    @property
    def duration_s(self) -> float:
        """Length of the utterance, in seconds."""
        return self.utterance.duration_s

    @property
    def sample_rate(self) -> int:
        """Sample rate of the recording, in Hz."""
        return self.utterance.sample_rate

    @property
    def channels(self) -> int:
        """Number of channels of the recording; the score is that of their mean, unless one was selected."""
        return self.utterance.channels

    @property
    def facts(self) -> SignalFacts:
        """Measurements of the samples that need no model: levels, clipping, silence, bandwidth, SNR."""
        return self.utterance.facts

    @property
    def model_id(self) -> str:
        """Id of the model, name@hash."""
        return self.model.model_id

    @property
    def label_scale(self) -> LabelScale:
        """Scale of the scores, with its name and its lowest and highest value."""
        return self.model.label_scale

    def __repr__(self) -> str:
        scale, count = self.label_scale, len(self.anomalies)
        remarks = "".join(f", {flag}" for flag in self.flags)
        return (
            f"<Score {self.score:.2f} of {scale.low:g} to {scale.high:g}, {self.duration_s:.1f} s, "
            f"{count} anomal{'y' if count == 1 else 'ies'}{remarks}, {self.model_id}>"
        )


def summarise(result: ScoredUtterance | Reject, model: ModelInfo) -> Score:
    """Pools the frame scores of an utterance, finds its anomalies and sets its flags.

    Args:
        result: output of the model.
        model: properties of the model.

    Raises:
        AudioFault: the model gave no score.
    """
    if isinstance(result, Reject):
        raise AudioFault(result.stage, result.reason, result.detail)
    utterance, frame_score, diagnosis = result.utterance, result.frame_score, result.diagnosis
    facts, activity = utterance.facts, utterance.frame_facts.activity
    anomalies = find_anomalies(
        frame_score,
        model.label_scale.span,
        silent=~activity.active,
        known_bad=is_dropped(utterance.frame_facts.dropout_s),
    )
    heard = None
    if diagnosis is not None:
        anomalies = with_causes(anomalies, diagnosis.frame_causes())
        heard = diagnosis.pool(frame_score, activity.counted, model.label_scale.high)
    certain_speech_s, heard_causes = (None, None) if heard is None else (heard.certain_speech_s, heard.causes)
    flags = verdicts.flags(facts, utterance.marks, utterance.duration_s, utterance.format, certain_speech_s)
    return Score(
        score=pool(frame_score[activity.counted], model.pooling),
        frame_score=frame_score,
        anomalies=anomalies,
        flags=flags,
        causes=verdicts.causes(facts, flags, utterance.marks, heard_causes),
        utterance=utterance,
        model=model,
        diagnosis=diagnosis,
        heard=heard,
    )


def is_dropped(dropout_s: np.ndarray) -> np.ndarray:
    """Returns whether a dropout covers so much of a frame that the frame is bad: bool [T].

    Args:
        dropout_s: length of the dropouts in the first half of each frame, in seconds: float [T].
    """
    return np.asarray(dropout_s > DROPPED_S)


def with_causes(anomalies: Sequence[Anomaly], frame_causes: np.ndarray) -> list[Anomaly]:
    """Returns anomalies with the most frequent cause of their frames, the first in `HEARD_CAUSES` of equally frequent ones.

    Args:
        anomalies: anomalies of an utterance.
        frame_causes: index in `HEARD_CAUSES` of the cause of each frame, or `NO_CAUSE`: int8 [T].
    """
    found = []
    for anomaly in anomalies:
        first, last = (
            round(time_s / FRAME_S) for time_s in (anomaly.start_s, anomaly.end_s - FRAME_LENGTH / SAMPLE_RATE)
        )
        inside = frame_causes[first : last + 1]
        counts = np.bincount(inside[inside != NO_CAUSE], minlength=1)
        found.append(dataclasses.replace(anomaly, cause=HEARD_CAUSES[int(counts.argmax())] if counts.any() else None))
    return found
