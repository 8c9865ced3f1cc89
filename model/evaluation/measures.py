"""Measures of a model on a labelled set: agreement, clean against degraded, localisation, effect of the level, and diagnoses.

The input is a list of clips that `audiosieve evaluate` has scored. All measures of a set use the same resamples of its speakers
(`bootstrap`).
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model.diagnosis import ALL_VALUES, RATINGS
from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.cause_measures import (
    measure_behind_speech,
    measure_causes,
    measure_false_causes,
    measure_music,
    measure_speech,
)
from model.evaluation.diagnosed_clips import DiagnosedClip
from model.evaluation.localisation import has_known_span, measure_localisation, partial
from model.evaluation.metrics import (
    precision_recall_f1,
    weighted_auc,
    weighted_lcc,
    weighted_mean,
    weighted_rmse,
    weighted_srcc,
)
from model.evaluation.scored_clips import CLEAN, FAULTS_ONLY, NO_SPEECH, NOISE, UNKNOWN, ScoredClips
from model.evaluation.value_measures import C50_EDGES_DB, SNR_EDGES_DB, measure_decibels, measure_rating
from model.frame_truth import SECOND_VOICE

DIMENSIONS = ("snr", "noise_group", "fault", "corpus", "variation")
# A gain has no effect on a score that changes by less than this, on the label scale.
LEVEL_TOLERANCE = 0.1


def measure_agreement(scored: ScoredClips, items: np.ndarray, resamples: Resamples) -> dict[str, Estimate]:
    """Measures how well scores agree with labels.

    Args:
        scored: scored clips.
        items: indices of the clips to measure on; clips without a label are ignored.
        resamples: resamples of the clips.

    Returns:
        "lcc", "srcc" and "rmse"; no rmse if labels and scores are on different scales; empty for fewer than two labels.
    """
    items = items[np.isfinite(scored.label[items])]
    if len(items) < 2:
        return {}
    label, score = scored.label[items], scored.score[items]

    def statistic(weight: np.ndarray) -> dict[str, np.ndarray]:
        measured = {"lcc": weighted_lcc(label, score, weight), "srcc": weighted_srcc(label, score, weight)}
        if scored.label_scale == scored.scale:
            measured["rmse"] = weighted_rmse(label, score, weight)
        return measured

    return resamples.estimate(statistic, items)


def measure_detection(scored: ScoredClips, items: np.ndarray, resamples: Resamples) -> dict[str, Estimate]:
    """Measures how well scores separate clean from degraded clips.

    Args:
        scored: scored clips.
        items: indices of the clips to measure on; clips whose noises and faults are unknown are ignored.
        resamples: resamples of the clips.

    Returns:
        "precision", "recall" and "f1" of clean clips at the threshold, if there is one, and "auc"; empty if all clips
        are clean, or none.
    """
    items = items[scored.clean_or_degraded[items]]
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


def measure(scored: ScoredClips, items: np.ndarray, others: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """Measures agreement and detection on some of the clips, with counts, means and variances.

    Args:
        scored: scored clips.
        items: indices of the clips to measure on.
        others: indices of further clean clips, for detection only.
        resamples: resamples of the clips.
    """
    label, score = scored.label[items], scored.score[items]
    label = label[np.isfinite(label)]
    measured: dict[str, Any] = {
        "clips": len(items),
        "labelled": len(label),
        "speakers": resamples.speakers(items),
        "label_mean": float(label.mean()) if len(label) else None,
        "label_variance": float(label.var()) if len(label) else None,
        "score_mean": float(score.mean()) if len(score) else None,
        "score_variance": float(score.var()) if len(score) else None,
    }
    measured |= measure_agreement(scored, items, resamples)
    return measured | measure_detection(scored, np.union1d(items, others), resamples)


def measure_conditions(scored: ScoredClips, dimension: str, resamples: Resamples) -> dict[str, dict[str, Any]]:
    """Calls `measure` for each condition of a dimension.

    Conditions of SNR, noise and fault describe degraded clips, so detection compares them with all clean clips of the set.
    Conditions of corpus and variation have clean clips of their own.

    Args:
        scored: scored clips.
        dimension: one of `DIMENSIONS`.
        resamples: resamples of the clips.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for n, clip in enumerate(scored.clips):
        for name in clip.conditions(dimension):
            members[name].append(n)
    clean = np.flatnonzero(scored.clean) if dimension not in ("corpus", "variation") else np.array([], int)
    order = sorted(members, key=_snr_order) if dimension == "snr" else sorted(members)
    return {name: measure(scored, np.array(members[name]), clean, resamples) for name in order}


def _snr_order(band: str) -> float:
    last = (FAULTS_ONLY, CLEAN, NO_SPEECH, UNKNOWN)
    return 1e8 + last.index(band) if band in last else float(band.removesuffix(" dB"))


def measure_anomalies(scored: ScoredClips, resamples: Resamples) -> dict[str, Any]:
    """Measures localisation on clips with a known span, and counts the anomalies in clean clips, which are all false.

    Args:
        scored: scored clips.
        resamples: resamples of the clips.
    """
    speech = np.flatnonzero(scored.clean_or_degraded)
    spans = np.array([n for n in speech.tolist() if has_known_span(scored.localised[n].bad)], int)
    clean = np.flatnonzero(scored.clean)
    measured: dict[str, Any] = {"clips_with_known_span": len(spans), "clean_clips": len(clean)}
    if len(spans):
        measured |= measure_localisation([scored.localised[n] for n in spans.tolist()], spans, resamples)
    if len(clean):
        false = np.array([scored.localised[n].num_anomalies for n in clean.tolist()])
        measured |= resamples.estimate(
            lambda weight: {"false_anomalies_per_clean_clip": weighted_mean(false, weight)}, clean
        )
    return measured


def measure_anomalies_by_kind(scored: ScoredClips, resamples: Resamples) -> dict[str, dict[str, Any]]:
    """Measures localisation on clips with a known span, by the kind of distortion that covers a part of the clip.

    Clips in which only noise covers a part are also grouped by SNR ("noise at 5 dB"). A clip with two kinds counts under
    both, each time with all of its bad frames.

    Args:
        scored: scored clips.
        resamples: resamples of the clips.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for n, (clip, localised) in enumerate(zip(scored.clips, scored.localised, strict=True)):
        if clip.is_clean_or_degraded and has_known_span(localised.bad):
            kinds = {distortion.kind for distortion in partial(clip.distortions, len(localised.bad))}
            for kind in kinds:
                members[kind].append(n)
            if kinds == {NOISE}:
                members[f"{NOISE} at {clip.snr_band}"].append(n)
    return {
        kind: {
            "clips": len(items),
            **measure_localisation([scored.localised[n] for n in items], np.array(items), resamples),
        }
        for kind, items in sorted(members.items(), key=_kind_order)
    }


def _kind_order(item: tuple[str, list[int]]) -> tuple[str, float]:
    kind, _, band = item[0].partition(" at ")
    return kind, _snr_order(band) if band else -1e9


def measure_level(score: np.ndarray, at_gains: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """Measures by how much gains change the scores.

    Args:
        score: scores of the clips [N].
        at_gains: scores of the same clips after each gain [N, G].
        resamples: resamples of the clips.
    """
    change = np.abs(at_gains - score[:, np.newaxis]).max(axis=1)
    within = resamples.estimate(
        lambda weight: {"moved_under_0.1": weighted_mean(change < LEVEL_TOLERANCE, weight)}, np.arange(len(score))
    )
    return {"clips": len(score), "largest_move": float(change.max()), **within}


def evaluate(scored: ScoredClips, resamples: Resamples) -> dict[str, Any]:
    """Returns all measures that depend on the scores alone: nested dicts of numbers and `Estimate`s.

    Args:
        scored: scored clips.
        resamples: resamples of the clips.
    """
    everything = np.arange(len(scored.clips))
    measured: dict[str, Any] = {"overall": measure(scored, everything, everything[:0], resamples)}
    for dimension in DIMENSIONS:
        measured[f"by_{dimension}"] = measure_conditions(scored, dimension, resamples)
    measured["localisation"] = measure_anomalies(scored, resamples)
    return {**measured, "localisation_by_kind": measure_anomalies_by_kind(scored, resamples)}


def measure_diagnoses(clips: Sequence[DiagnosedClip], resamples: Resamples) -> dict[str, Any]:
    """Returns all measures of a diagnostic model for which a set has the truth, by part of `evaluation.json`.

    Values that the model was not trained on are not measured.

    Args:
        clips: all clips of the set, at least one.
        resamples: resamples of the clips.
    """
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "speech": lambda: measure_speech(clips, resamples),
        "causes": lambda: measure_causes(clips, resamples),
        "music": lambda: measure_music(clips, resamples),
        SECOND_VOICE: lambda: measure_behind_speech(SECOND_VOICE, clips, resamples),
        "snr_db": lambda: measure_decibels(clips, "snr_db", SNR_EDGES_DB, resamples),
        "c50_db": lambda: measure_decibels(clips, "c50_db", C50_EDGES_DB, resamples),
        **{name: functools.partial(measure_rating, clips, name, resamples) for name in RATINGS},
        "false_causes": lambda: measure_false_causes(clips, resamples),
    }
    untrained = ALL_VALUES - clips[0].diagnosis.trained
    measured = {part: measure() for part, measure in measures.items() if part not in untrained}
    return {part: found for part, found in measured.items() if found}


def differences(measured: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """Returns the differences between the measures of two models on the same set, overall and in localisation.

    Args:
        measured: measures of a model (`evaluate`).
        reference: measures of the model to subtract.
    """
    return {
        part: {
            name: value - reference[part][name]
            for name, value in measured[part].items()
            if isinstance(value, Estimate) and name in reference[part]
        }
        for part in ("overall", "localisation")
    }


def as_json(measured: Any) -> Any:
    """Returns measures as JSON values: each `Estimate` becomes {"value", "low", "high"}."""
    if isinstance(measured, Estimate):
        return measured.as_dict()
    if isinstance(measured, dict):
        return {name: as_json(value) for name, value in measured.items()}
    return [as_json(value) for value in measured] if isinstance(measured, list) else measured
