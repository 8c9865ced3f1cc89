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

# Limits beyond which a signal fact makes a score doubtful.
NEAR_SILENT_DBFS = -55.0
MOSTLY_SILENCE_RATIO = 0.8
CLIPPED_RATIO = 1e-3
DC_OFFSET = 0.01
NARROW_BAND_HZ = 5_000.0
VERY_SHORT_S = 1.0


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
        anomalies: stretches that score below the level around them, in order of time.
        flags: reasons to doubt the score, such as "clipped"; the function `flags` defines them.
        utterance: decoded utterance, with its source and audio format.
        model: properties of the model.
    """

    score: float
    frame_score: np.ndarray
    anomalies: Sequence[Anomaly]
    flags: Sequence[str]
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
    return Score(
        score=pool(result.frame_score, model.pooling),
        frame_score=result.frame_score,
        anomalies=find_anomalies(result.frame_score, model.label_scale.span),
        flags=flags(result.utterance),
        utterance=result.utterance,
        model=model,
    )


def flags(utterance: Utterance) -> list[str]:
    """Returns the reasons to doubt an utterance's score, as words.

    near_silent: RMS level under -55 dBFS. mostly_silence: over 80 % of the frames are silence. clipped: over 0.1 % of the
    samples are clipped. dc_offset: mean over 1 % of full scale. narrow_band: bandwidth under 5 kHz. very_short: under 1 s.
    """
    facts = utterance.facts
    conditions = {
        "near_silent": facts.rms_dbfs < NEAR_SILENT_DBFS,
        "mostly_silence": facts.silence_ratio > MOSTLY_SILENCE_RATIO,
        "clipped": facts.clipped_ratio > CLIPPED_RATIO,
        "dc_offset": abs(facts.dc_offset) > DC_OFFSET,
        "narrow_band": facts.bandwidth_hz < NARROW_BAND_HZ,
        "very_short": utterance.duration_s < VERY_SHORT_S,
    }
    return [flag for flag, is_set in conditions.items() if is_set]
