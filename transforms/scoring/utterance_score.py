"""The score of one utterance, made from the scores of its frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from model.anomalies import Anomaly, find_anomalies
from model.bundle import Bundle
from model.features import frame_start_s
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
        causes: faults that the samples prove, such as "clipping"; `verdicts.causes` defines them.
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

    @property
    def start_s(self) -> np.ndarray:
        """Start of each frame, in seconds from the start of the utterance: float64 [T]."""
        return frame_start_s(np.arange(len(self.frame_score)))

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
    utterance, frame_score = result.utterance, result.frame_score
    activity = utterance.frame_facts.activity
    flags = verdicts.flags(utterance.facts, utterance.marks, utterance.duration_s, utterance.format)
    return Score(
        score=pool(frame_score[activity.counted], model.pooling),
        frame_score=frame_score,
        anomalies=find_anomalies(
            frame_score,
            model.label_scale.span,
            silent=~activity.active,
            known_bad=utterance.frame_facts.dropout_s > DROPPED_S,
        ),
        flags=flags,
        causes=verdicts.causes(utterance.facts, flags, utterance.marks),
        utterance=utterance,
        model=model,
    )
