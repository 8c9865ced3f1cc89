"""Clips of a labelled set, their scores by one model, and the threshold that separates clean from degraded clips."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from model.evaluation.localisation import Localised
from model.evaluation.metrics import precision_recall_f1
from model.frame_truth import Distortion
from model.labels import LabelScale

NOISE = "noise"
CLEAN = "clean"
FAULTS_ONLY = "no noise, faults"
NO_SPEECH = "no speech"
UNKNOWN = "unknown"
UNVARIED = "none"
# Width of a band of SNRs.
STEP_DB = 5.0


class EvaluationError(ValueError):
    """A set lacks the clips that a measure needs."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """Facts about a clip, without its audio.

    Attributes:
        set_name: folder of the set, as given by the user.
        clip_id: id, unique in its set.
        split: split of the set: "train", "val", ...
        duration_s: length in seconds.
        labels: label by column (`LabelScale.column`); None for a missing label.
        snr_db: mixing SNR in dB; None without noise.
        distortions: all noises and faults.
        variation: descriptions of harmless variations; the first word of each is its kind.
        speech_id: id of the speech recording.
        speaker: speaker of the speech.
        corpus: corpus of the speech; None if unknown.
        noise_groups: groups of the noises.
        known: whether noises and faults are known; they are not for a part of a real recording as it is.
        names_causes: whether the causes of all distortions are known.
        speech: start and end in seconds of each part with speech; None if unknown.
        speech_snr_db: SNR over the parts with speech in dB; None without noise, or if unknown.
        c50_db: clarity index C50 of the room in dB; None without a room, or if unknown.
        ratings: rating by name (`diagnosis.RATINGS`), as a teacher gave it; None for a missing rating.
    """

    set_name: str
    clip_id: str
    split: str
    duration_s: float
    labels: dict[str, float | None]
    snr_db: float | None
    distortions: tuple[Distortion, ...]
    variation: tuple[str, ...]
    speech_id: str
    speaker: str
    corpus: str | None
    noise_groups: tuple[str, ...]
    known: bool = True
    names_causes: bool = False
    speech: tuple[tuple[float, float], ...] | None = None
    speech_snr_db: float | None = None
    c50_db: float | None = None
    ratings: Mapping[str, float | None] = dataclasses.field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether the clip is known to be speech with neither noise nor faults."""
        return self.is_clean_or_degraded and self.snr_db is None and not self.distortions

    @property
    def is_clean_or_degraded(self) -> bool:
        """Whether the clip is known to be one of both: speech, and no real recording."""
        return self.known and self.speech != ()

    @property
    def resampled_with(self) -> str:
        """Name of the clips that are resampled together, because they are alike: those of one speaker.

        Clips without speech are alike if they have the same group of noise, or else the same recording.
        """
        if self.speaker:
            return self.speaker
        recordings = [distortion.detail.split(",")[0] for distortion in self.distortions]
        return next(iter([*self.noise_groups, *recordings]), self.clip_id)

    @property
    def faults(self) -> list[str]:
        """Distinct kinds of the faults, sorted."""
        return sorted({distortion.kind for distortion in self.distortions} - {NOISE})

    @property
    def snr_band(self) -> str:
        """SNR rounded to 5 dB, such as "10 dB"; without noise "clean", "no noise, faults", "no speech" or "unknown"."""
        if not self.known:
            return UNKNOWN
        if self.speech == ():
            return NO_SPEECH
        if self.snr_db is None:
            return CLEAN if self.clean else FAULTS_ONLY
        return f"{STEP_DB * math.floor(self.snr_db / STEP_DB + 0.5):g} dB"

    def conditions(self, dimension: str) -> list[str]:
        """Returns the conditions of a dimension (one of `measures.DIMENSIONS`) that the clip belongs to."""
        return {
            "snr": [self.snr_band],
            "noise_group": sorted(set(self.noise_groups)),
            "fault": self.faults,
            "corpus": [self.corpus or UNKNOWN],
            "variation": sorted({name.split()[0] for name in self.variation if name}) or [UNVARIED],
        }[dimension]


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Threshold between clean and degraded clips.

    Attributes:
        value: lowest score of a clip that counts as clean.
        f1: F1 of clean clips, 0 to 1, on the clips that the threshold was chosen on.
    """

    value: float
    f1: float


def choose_threshold(clean: np.ndarray, score: np.ndarray) -> Threshold:
    """Returns the threshold with the best F1 of clean clips, midway between two neighbouring scores.

    Clean is the positive class, because users keep clean clips: precision is the share of kept clips that are clean,
    recall the share of clean clips that are kept. Clean clips are also the rarer class in a training set. If degraded
    clips were the positive class and 15 % were clean, a model that calls every clip degraded would reach F1 0.92.

    Args:
        clean: whether each clip is clean, bool [N].
        score: score of each clip [N].

    Raises:
        EvaluationError: all clips are clean, or none.
    """
    if not clean.any() or clean.all():
        raise EvaluationError("choosing a threshold needs both clean and degraded clips")
    values, value_index = np.unique(score, return_inverse=True)
    # Numbers of clips, and of clean clips, that score at least each value.
    kept = np.cumsum(np.bincount(value_index)[::-1])[::-1]
    kept_clean = np.cumsum(np.bincount(value_index, weights=clean)[::-1])[::-1]
    f1 = precision_recall_f1(kept_clean, kept - kept_clean, clean.sum() - kept_clean)["f1"]
    best = int(np.argmax(f1))
    lower = values[best - 1] if best else values[best]
    return Threshold(float(lower + (values[best] - lower) / 2), float(f1[best]))


@dataclasses.dataclass(frozen=True)
class ScoredClips:
    """Clips with the scores of one model.

    Attributes:
        clips: the clips [N].
        score: score of each clip [N].
        localised: anomalies and truly bad frames of each clip [N]; empty if localisation is not measured.
        label: label of each clip [N]; NaN for a missing label.
        label_scale: scale of the labels; None if no clip has a label.
        scale: scale of the scores.
        threshold: threshold for clean clips; None if none could be chosen.
    """

    clips: Sequence[Clip]
    score: np.ndarray
    localised: Sequence[Localised]
    label: np.ndarray
    label_scale: LabelScale | None
    scale: LabelScale
    threshold: Threshold | None

    @property
    def clean(self) -> np.ndarray:
        """Whether each clip is clean, bool [N]."""
        return np.array([clip.clean for clip in self.clips], bool)

    @property
    def clean_or_degraded(self) -> np.ndarray:
        """Whether each clip is known to be clean or degraded speech, bool [N]."""
        return np.array([clip.is_clean_or_degraded for clip in self.clips], bool)
