"""What a model is worth on a labelled set: agreement, clean against degraded, localisation, order and level.

Everything here is arithmetic on clips that are already scored; `audiosieve evaluate` scores them. All measures of a set are
taken on the same resamples of its speakers (`bootstrap`).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.localisation import Distortion, Localised, has_known_span, measure_localisation, partial
from model.evaluation.metrics import (
    precision_recall_f1,
    weighted_auc,
    weighted_lcc,
    weighted_mean,
    weighted_rmse,
    weighted_srcc,
)
from model.labels import LabelScale

NOISE = "noise"
CLEAN = "clean"
FAULTS_ONLY = "no noise, faults"
UNKNOWN = "unknown"
UNVARIED = "none"
DIMENSIONS = ("snr", "noise_group", "fault", "corpus", "variation")
# A gain should move a score by less than this.
LEVEL_TOLERANCE = 0.1
STEP_DB = 5.0


class EvaluationError(ValueError):
    """A set that does not hold what a measure needs."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """What is known of a clip.

    Attributes:
        set_name: the set, as the user named it.
        clip_id: in its set.
        split: "train", "val", ...
        duration_s: its length.
        labels: by label column (`LabelScale.column`); None where there is none.
        snr_db: mixing SNR; None without noise.
        distortions: every noise and fault.
        variation: harmless variations, each beginning with the word for its kind.
        speech_id: the speech.
        speaker: who speaks.
        corpus: of the speech; None where it is not known.
        noise_groups: of its noises.
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

    @property
    def clean(self) -> bool:
        """Whether it has neither noise nor fault."""
        return self.snr_db is None and not self.distortions

    @property
    def faults(self) -> list[str]:
        """Kinds of its faults, each once."""
        return sorted({distortion.kind for distortion in self.distortions} - {NOISE})

    @property
    def snr_band(self) -> str:
        """Its SNR to the nearest 5 dB, or that it has none."""
        if self.snr_db is None:
            return CLEAN if self.clean else FAULTS_ONLY
        return f"{STEP_DB * math.floor(self.snr_db / STEP_DB + 0.5):g} dB"

    def conditions(self, dimension: str) -> list[str]:
        """The conditions of a dimension (one of `DIMENSIONS`) that it belongs to; it may be several, or none."""
        return {
            "snr": [self.snr_band],
            "noise_group": sorted(set(self.noise_groups)),
            "fault": self.faults,
            "corpus": [self.corpus or UNKNOWN],
            "variation": sorted({name.split()[0] for name in self.variation if name}) or [UNVARIED],
        }[dimension]


@dataclasses.dataclass(frozen=True)
class Threshold:
    """From which score on a clip is taken for clean, and the F1 that this had where it was chosen."""

    value: float
    f1: float


def choose_threshold(clean: np.ndarray, score: np.ndarray) -> Threshold:
    """The threshold with the best F1 of clean clips: midway between two scores that stand next to each other.

    Clean is the positive class. It is what a user keeps, so that precision is the share of what is kept that is
    really clean, and recall the share of the clean clips that are kept. And it is the rarer class in a training set:
    with degraded as the positive one, calling everything degraded would have an F1 of 0.92 where 15 % are clean.

    Args:
        clean: whether each clip has neither noise nor fault, bool [N].
        score: [N].

    Raises:
        EvaluationError: there are no clean clips, or no others.
    """
    if not clean.any() or clean.all():
        raise EvaluationError("a threshold needs clean clips and degraded ones to be chosen on")
    values, which = np.unique(score, return_inverse=True)
    kept = np.cumsum(np.bincount(which)[::-1])[::-1]  # at and over each value
    found = np.cumsum(np.bincount(which, weights=clean)[::-1])[::-1]
    f1 = precision_recall_f1(found, kept - found, clean.sum() - found)["f1"]
    best = int(np.argmax(f1))
    lower = values[best - 1] if best else values[best]
    return Threshold(float(lower + (values[best] - lower) / 2), float(f1[best]))


@dataclasses.dataclass(frozen=True)
class Scored:
    """A set as one model scored it.

    Attributes:
        clips: the set [N].
        score: of the clips [N].
        localised: per clip, what was found in it [N].
        label: what the scores are compared to [N]; NaN where a clip has none.
        label_scale: of the labels; None where the set has none at all.
        scale: of the scores.
        threshold: for clean clips; None where none could be chosen.
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
        """Which clips have neither noise nor fault, bool [N]."""
        return np.array([clip.clean for clip in self.clips], bool)


def measure_agreement(scored: Scored, items: np.ndarray, resamples: Resamples) -> dict[str, Estimate]:
    """lcc, srcc and rmse of the labelled ones among the clips with the numbers `items`.

    Where the label is on another scale than the score, their distance means nothing, and rmse is not among them.
    """
    items = items[np.isfinite(scored.label[items])]
    if len(items) < 2:
        return {}
    label, score = scored.label[items], scored.score[items]

    def statistic(weight: np.ndarray) -> dict[str, np.ndarray]:
        found = {"lcc": weighted_lcc(label, score, weight), "srcc": weighted_srcc(label, score, weight)}
        if scored.label_scale == scored.scale:
            found["rmse"] = weighted_rmse(label, score, weight)
        return found

    return resamples.estimate(statistic, items)


def measure_detection(scored: Scored, items: np.ndarray, resamples: Resamples) -> dict[str, Estimate]:
    """Precision, recall and F1 of clean clips at the threshold, and the auc, which needs none."""
    clean, score = scored.clean[items], scored.score[items]
    if not clean.any() or clean.all():
        return {}
    auc = resamples.estimate(lambda weight: {"auc": weighted_auc(clean, score, weight)}, items)
    if scored.threshold is None:
        return auc
    kept = score >= scored.threshold.value

    def statistic(weight: np.ndarray) -> dict[str, np.ndarray]:
        return precision_recall_f1(weight @ (kept & clean), weight @ (kept & ~clean), weight @ (~kept & clean))

    return {**resamples.estimate(statistic, items), **auc}


def measure(scored: Scored, items: np.ndarray, others: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """Agreement and detection on a part of a set, with counts, means and variances.

    Args:
        scored: the set.
        items: numbers of the clips of the part.
        others: numbers of further clips, clean ones, that detection tells those of the part from.
        resamples: of the set.
    """
    label, score = scored.label[items], scored.score[items]
    label = label[np.isfinite(label)]
    found: dict[str, Any] = {
        "clips": len(items),
        "labelled": len(label),
        "speakers": resamples.speakers(items),
        "label_mean": float(label.mean()) if len(label) else None,
        "label_variance": float(label.var()) if len(label) else None,
        "score_mean": float(score.mean()) if len(score) else None,
        "score_variance": float(score.var()) if len(score) else None,
    }
    found |= measure_agreement(scored, items, resamples)
    return found | measure_detection(scored, np.union1d(items, others), resamples)


def measure_conditions(scored: Scored, dimension: str, resamples: Resamples) -> dict[str, dict[str, Any]]:
    """`measure` for each condition of a dimension.

    Noise and faults are told from all clean clips of the set, as a condition of degradation holds no clean clip of its
    own; within a corpus or a variation, the clean clips are those that it holds.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for number, clip in enumerate(scored.clips):
        for name in clip.conditions(dimension):
            members[name].append(number)
    clean = np.flatnonzero(scored.clean) if dimension not in ("corpus", "variation") else np.array([], int)
    order = sorted(members, key=_snr_order) if dimension == "snr" else sorted(members)
    return {name: measure(scored, np.array(members[name]), clean, resamples) for name in order}


def _snr_order(band: str) -> float:
    return {FAULTS_ONLY: 1e8, CLEAN: 1e9}.get(band) or float(band.removesuffix(" dB"))


def measure_places(scored: Scored, resamples: Resamples) -> dict[str, Any]:
    """`measure_localisation` on the clips with a known span, and the anomalies that are found in clean clips."""
    spans = np.array([n for n, clip in enumerate(scored.localised) if has_known_span(clip.bad)], int)
    clean = np.flatnonzero(scored.clean)
    found: dict[str, Any] = {"clips_with_known_span": len(spans), "clean_clips": len(clean)}
    if len(spans):
        found |= measure_localisation([scored.localised[n] for n in spans.tolist()], spans, resamples)
    if len(clean):
        alarms = np.array([scored.localised[n].num_anomalies for n in clean.tolist()])
        found |= resamples.estimate(
            lambda weight: {"false_anomalies_per_clean_clip": weighted_mean(alarms, weight)}, clean
        )
    return found


def measure_places_by_kind(scored: Scored, resamples: Resamples) -> dict[str, dict[str, Any]]:
    """`measure_localisation` on the clips with a known span, by the kinds of what covers them in part.

    Where that is noise alone, by its SNR too ("noise at 5 dB"). What is bad in a clip is bad whatever its kind: a clip
    with two kinds counts under both, with all of its bad frames.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for n, (clip, found) in enumerate(zip(scored.clips, scored.localised, strict=True)):
        if has_known_span(found.bad):
            kinds = {distortion.kind for distortion in partial(clip.distortions, len(found.bad))}
            for kind in kinds:
                members[kind].append(n)
            if kinds == {NOISE}:
                members[f"{NOISE} at {clip.snr_band}"].append(n)
    return {
        kind: {
            "clips": len(items),
            **measure_localisation([scored.localised[n] for n in items], np.array(items), resamples),
        }
        for kind, items in sorted(members.items(), key=_place_order)
    }


def _place_order(item: tuple[str, list[int]]) -> tuple[str, float]:
    kind, _, band = item[0].partition(" at ")
    return kind, _snr_order(band) if band else -1e9


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a ladder: the same clip at an SNR and at the next higher one, by their numbers in the set."""

    low_db: float
    high_db: float
    low: int
    high: int


def ladder_steps(clips: Sequence[Clip]) -> list[Step]:
    """Pairs the clips that several sets hold at different SNRs: the same id and the same speech.

    Args:
        clips: of sets that were made with the same seed and material, each at one SNR; clean counts as the highest.

    Returns:
        Steps between neighbours among all SNRs, where a clip is there at both.

    Raises:
        EvaluationError: there is no such pair.
    """
    # What has a fault and no noise stands on no rung.
    rung = {n: math.inf if clip.clean else clip.snr_db for n, clip in enumerate(clips)}
    rungs = sorted({snr_db for snr_db in rung.values() if snr_db is not None})
    places: dict[tuple[str, str], dict[float, int]] = defaultdict(dict)
    for n, clip in enumerate(clips):
        if (snr_db := rung[n]) is not None:
            places[clip.clip_id, clip.speech_id][snr_db] = n
    steps = [
        Step(low_db, high_db, place[low_db], place[high_db])
        for low_db, high_db in itertools.pairwise(rungs)
        for place in places.values()
        if low_db in place and high_db in place
    ]
    if not steps:
        raise EvaluationError(
            "a ladder needs the same clips at several SNRs: sets made with the same --seed and other --snr, each one number"
        )
    return steps


def measure_ladder(scored: Scored, resamples: Resamples) -> dict[str, Any]:
    """How often the score of a clip rises with its SNR, step by step; `rose_5db` over all steps of 5 dB."""
    steps = ladder_steps(scored.clips)

    def rose(some: Sequence[Step]) -> dict[str, Any]:
        up = np.array([scored.score[step.high] > scored.score[step.low] for step in some])
        items = np.array([step.low for step in some])
        return resamples.estimate(lambda weight: {"rose": weighted_mean(up, weight)}, items)

    by_rungs: dict[tuple[float, float], list[Step]] = defaultdict(list)
    on_rung: dict[float, set[int]] = defaultdict(set)
    for step in steps:
        by_rungs[step.low_db, step.high_db].append(step)
        on_rung[step.low_db].add(step.low)
        on_rung[step.high_db].add(step.high)
    found: dict[str, Any] = {
        "rungs": [
            {"snr": _rung_name(snr_db), "clips": len(items), "score_mean": float(scored.score[sorted(items)].mean())}
            for snr_db, items in sorted(on_rung.items())
        ],
        "steps": [
            {"from": _rung_name(low), "to": _rung_name(high), "clips": len(some), **rose(some)}
            for (low, high), some in sorted(by_rungs.items())
        ],
    }
    of_5db = [step for step in steps if math.isclose(step.high_db - step.low_db, STEP_DB, abs_tol=1e-6)]
    if of_5db:
        found |= {"steps_of_5db": len(of_5db), "rose_5db": rose(of_5db)["rose"]}
    return found


def _rung_name(snr_db: float) -> str:
    return CLEAN if math.isinf(snr_db) else f"{snr_db:g} dB"


def measure_level(score: np.ndarray, at_gains: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """How far gains move the scores.

    Args:
        score: of the clips [N].
        at_gains: of the same clips after each gain [N, G].
        resamples: of the set.
    """
    moved = np.abs(at_gains - score[:, np.newaxis]).max(axis=1)
    within = resamples.estimate(
        lambda weight: {"moved_under_0.1": weighted_mean(moved < LEVEL_TOLERANCE, weight)}, np.arange(len(score))
    )
    return {"clips": len(score), "largest_move": float(moved.max()), **within}


def evaluate(scored: Scored, resamples: Resamples) -> dict[str, Any]:
    """All measures of one model on one set that need nothing but its scores: nested, with `Estimate`s as leaves."""
    everything = np.arange(len(scored.clips))
    found: dict[str, Any] = {"overall": measure(scored, everything, everything[:0], resamples)}
    for dimension in DIMENSIONS:
        found[f"by_{dimension}"] = measure_conditions(scored, dimension, resamples)
    found["localisation"] = measure_places(scored, resamples)
    return {**found, "localisation_by_kind": measure_places_by_kind(scored, resamples)}


def differences(found: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """By how much each measure differs from that of another model on the same set; overall and in localisation."""
    return {
        part: {
            name: value - reference[part][name]
            for name, value in found[part].items()
            if isinstance(value, Estimate) and name in reference[part]
        }
        for part in ("overall", "localisation")
    }


def plain(found: Any) -> Any:
    """The same with every `Estimate` as {"value", "low", "high"}, for JSON."""
    if isinstance(found, Estimate):
        return found.as_dict()
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    return [plain(value) for value in found] if isinstance(found, list) else found
