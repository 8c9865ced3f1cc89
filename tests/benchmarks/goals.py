"""The goals of a diagnostic model, and what a bundle reaches, for `tests.benchmarks.peers`.

Each goal is measured on the test set that the recipe of the model makes for it. A set is known by the name of its folder, with
or without `val_`: `noise`, `faults`, `burst`, `sounds`, `levels`, `telephone`, `voice`, `music` and `rated`. Goals without
their set have no figure.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.cause_measures import measure_speech
from model.evaluation.diagnosed_clips import DiagnosedClip, diagnosed_clip
from model.evaluation.localisation import localise
from model.evaluation.measures import evaluate, measure_diagnoses
from model.evaluation.scored_clips import Clip, ScoredClips
from model.evaluation.text_tables import MISSING, estimate, table
from model.labels import LabelScale
from transforms.evaluation.labelled_clips import ClipScores

# Sets on which scores are measured. The others are for diagnoses.
OF_SCORES = ("noise", "faults", "burst")
# Key of the measures over the clips of all sets.
ALL = "all"
# Measures by name of the set: nested dicts with `Estimate`s as leaves.
Measures = Mapping[str, Any]
# A figure, and what it is about if the title does not say so.
Figure = tuple[Estimate, str]


@dataclasses.dataclass(frozen=True)
class Goal:
    """A goal.

    Attributes:
        title: measure and set.
        before: figures of `disturbance_net_v1`, where it has any.
        limit: value to reach.
        is_lowest: whether the limit is the lowest value that reaches the goal; else it is the highest one.
        find: function that returns the figure from the measures of the sets; None if it was not measured.
        digits: number of digits after the point.
    """

    title: str
    before: str
    limit: float
    is_lowest: bool
    find: Callable[[Measures], Figure | None]
    digits: int = 3

    def row(self, measures: Measures) -> list[str]:
        """Returns the row of the table of goals."""
        sign = ">=" if self.is_lowest else "<="
        goal = f"{sign} {self.limit:g}"
        found = self.find(measures)
        if found is None or not math.isfinite(found[0].value):
            return [self.title, self.before, goal, MISSING, MISSING]
        value, remark = found
        reached = value.value >= self.limit if self.is_lowest else value.value <= self.limit
        title = f"{self.title} ({remark})" if remark else self.title
        return [title, self.before, goal, estimate(value, self.digits), "yes" if reached else "no"]


def _at(*path: str) -> Callable[[Measures], Figure | None]:
    """Returns a function that finds the figure at a path in the measures."""

    def find(measures: Measures) -> Figure | None:
        found: Any = measures
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return (found, "") if isinstance(found, Estimate) else None

    return find


def _worst_kind(measures: Measures) -> Figure | None:
    """Finds the kind of degradation with the lowest LCC."""
    kinds = measures.get("faults", {}).get("by_fault", {})
    found = [(part["lcc"], kind) for kind, part in kinds.items() if "lcc" in part and math.isfinite(part["lcc"].value)]
    return min(found, key=lambda figure: figure[0].value) if found else None


GOALS = (
    Goal("noise: LCC of PESQ-WB", "0.935", 0.945, True, _at("noise", "overall", "lcc")),
    Goal("noise: RMSE of PESQ-WB", "0.444", 0.38, False, _at("noise", "overall", "rmse")),
    Goal("faults: LCC of PESQ-WB", "0.934", 0.93, True, _at("faults", "overall", "lcc")),
    Goal("faults: lowest LCC of a kind", "", 0.85, True, _worst_kind),
    *(
        Goal(f"noise: RMSE at {band}", before, 0.45, False, _at("noise", "by_snr", band, "rmse"))
        for band, before in (("20 dB", "0.59"), ("25 dB", "0.56"), ("30 dB", "0.62"), ("clean", "0.46"))
    ),
    Goal("all sets: speech in frames, AUC", "", 0.985, True, _at(ALL, "speech", "auc"), 4),
    *(
        Goal(f"compared clips: speech in frames, AUC above {peer}", "", 0.0, True, _at(ALL, "above", peer), 4)
        for peer in ("silero-vad", "ten-vad")
    ),
    Goal("sounds: music alone against speech, AUC", "", 0.99, True, _at("sounds", "music", "alone", "auc"), 4),
    Goal(
        "music: behind speech at 10 dB, AUC", "", 0.95, True, _at("music", "music", "behind_speech", "10 dB", "auc"), 4
    ),
    Goal("sounds: causes of clips, macro F1", "", 0.85, True, _at("sounds", "causes", "macro_f1")),
    Goal("sounds: causes of frames, macro F1", "", 0.75, True, _at("sounds", "causes", "frame_macro_f1")),
    Goal("voice: second voice at -10 dB, AUC", "", 0.95, True, _at("voice", "second_voice", "10 dB", "auc"), 4),
    Goal("levels: SNR from -5 to 35 dB, mean absolute error in dB", "", 2.0, False, _at("levels", "snr_db", "mae"), 2),
    Goal("levels: C50 from 0 to 40 dB, mean absolute error in dB", "", 3.0, False, _at("levels", "c50_db", "mae"), 2),
    Goal(
        "rated: mos_ovrl on real recordings, LCC with DNSMOS", "", 0.93, True, _at("rated", "mos_ovrl", "real", "lcc")
    ),
    Goal("rated: same decision as DNSMOS at 3.0", "", 0.95, True, _at("rated", "mos_ovrl", "real", "same_decision")),
    *(
        Goal(
            f"burst: IoU at {band}",
            before,
            limit,
            True,
            _at("burst", "localisation_by_kind", f"noise at {band}", "iou"),
        )
        for band, before, limit in (("5 dB", "0.71", 0.75), ("15 dB", "0.54", 0.6))
    ),
    Goal(
        "burst: false anomalies a clean clip",
        "0.07",
        0.05,
        False,
        _at("burst", "localisation", "false_anomalies_per_clean_clip"),
    ),
    Goal(
        "telephone: clips with a false cause",
        "",
        0.05,
        False,
        _at("telephone", "false_causes", "band_limit_only", "share"),
    ),
    Goal("network alone, times real time on one core", "869", 2000.0, True, _at(ALL, "speed"), 0),
)


def name_of_set(folder: str) -> str:
    """Returns the name by which the goals know a set."""
    return Path(folder).name.removeprefix("val_")


def measure_sets(
    scale: LabelScale, clips: Sequence[Clip], scores: Sequence[ClipScores], resamples: int
) -> dict[str, dict[str, Any]]:
    """Measures a diagnostic model on the sets that goals need, and the speech on all clips.

    Args:
        scale: scale of the scores.
        clips: clips of all sets [N].
        scores: their scores and diagnoses [N].
        resamples: number of resamples of the speakers.

    Returns:
        Measures by name of the set: those of `measures.evaluate` or of `measures.measure_diagnoses`; and under `ALL`, "speech".
    """
    diagnosed = [_diagnosed(scale, clip, one) for clip, one in zip(clips, scores, strict=True)]
    measures: dict[str, dict[str, Any]] = {ALL: {"speech": measure_speech(diagnosed, _resamples(clips, resamples))}}
    names = [name_of_set(clip.set_name) for clip in clips]
    for name in dict.fromkeys(names):
        items = [n for n, other in enumerate(names) if other == name]
        own = [clips[n] for n in items]
        if name in OF_SCORES:
            measures[name] = evaluate(_scored(scale, own, [scores[n] for n in items]), _resamples(own, resamples))
        else:
            measures[name] = measure_diagnoses([diagnosed[n] for n in items], _resamples(own, resamples))
    return measures


def _resamples(clips: Sequence[Clip], resamples: int) -> Resamples:
    return Resamples([clip.resampled_with for clip in clips], resamples, 0)


def _diagnosed(scale: LabelScale, clip: Clip, scores: ClipScores) -> DiagnosedClip:
    assert scores.diagnosis is not None
    return diagnosed_clip(clip, scores.diagnosis, scores.frame_score, scores.counted, scale.high)


def _scored(scale: LabelScale, clips: Sequence[Clip], scores: Sequence[ClipScores]) -> ScoredClips:
    return ScoredClips(
        clips=clips,
        score=np.array([one.score for one in scores]),
        localised=[
            localise(one.frame_score, clip.distortions, scale.span, one.silent)
            for clip, one in zip(clips, scores, strict=True)
        ],
        # None becomes NaN.
        label=np.array([clip.labels[scale.column] for clip in clips], float),
        label_scale=scale,
        scale=scale,
        threshold=None,
    )


def goal_table(model_id: str, measures: Measures) -> str:
    """Returns the table of goals: what the model reaches, with 95 % intervals from resampling the speakers."""
    head = ["goal", "disturbance_net_v1", "to reach", model_id, "reached"]
    return table([head, *(goal.row(measures) for goal in GOALS)])
