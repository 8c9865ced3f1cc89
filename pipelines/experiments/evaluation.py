"""Work of `audiosieve evaluate`: scores and measures the clips, and writes measures, tables and figures.

OUT/evaluation.json                  options, clips, measures of each model
OUT/clips.parquet, frames.parquet    scores and diagnoses of each model
OUT/*.png                            figures
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.evaluation.bootstrap import Resamples
from model.evaluation.diagnosed_clips import DiagnosedClip, diagnosed_clip
from model.evaluation.diagnosis_tables import diagnosis_tables
from model.evaluation.ladder import measure_ladder
from model.evaluation.localisation import has_known_span, localise, partial
from model.evaluation.measures import as_json, differences, evaluate, measure_diagnoses, measure_level
from model.evaluation.scored_clips import Clip, ScoredClips, choose_threshold
from model.evaluation.text_tables import report
from model.evaluation.value_measures import true_and_predicted
from model.features import num_frames
from model.local_files import write_text
from model.runtime import start_tensorflow
from pipelines.common.arguments import recorded
from pipelines.experiments.evaluation_setup import Evaluation
from transforms.evaluation.labelled_clips import ClipScores, read_audio, score_clips
from transforms.evaluation.tables import write_tables
from transforms.scoring.batching import BatchLimits

if TYPE_CHECKING:
    from model.evaluation.figures import Example
    from model.inference.scorer import Scorer

# Measures of one model by name: nested dicts with `Estimate`s as leaves.
Measures = dict[str, Any]


def run_evaluation(evaluation: Evaluation) -> str:
    """Scores and measures the clips, and writes the results.

    Returns:
        The results as text.
    """
    started = time.monotonic()
    start_tensorflow(evaluation.options.threads)
    scored_by, diagnosed_by, measures_of = _score_and_measure(evaluation)
    write_tables(evaluation.output, scored_by, diagnosed_by)
    seconds = round(time.monotonic() - started, 3)
    results = {**_results(evaluation, measures_of, scored_by), "timings": {"total_s": seconds}}
    write_text(evaluation.output / "evaluation.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
    _draw(evaluation, measures_of, scored_by)
    _draw_diagnoses(evaluation.output, measures_of, diagnosed_by)
    tables_of = {model_id: diagnosis_tables(measures) for model_id, measures in measures_of.items()}
    return report(measures_of, evaluation.notes, tables_of)


def _score_and_measure(
    evaluation: Evaluation,
) -> tuple[dict[str, ScoredClips], dict[str, list[DiagnosedClip]], dict[str, Measures]]:
    """Returns the scored clips, the diagnosed clips of diagnostic models, and the measures, by model id."""
    from model.inference.scorer import Scorer

    options = evaluation.options
    scorers = [Scorer(bundle) for bundle in evaluation.bundles]
    limits = BatchLimits(batch_size=options.batch_size, batch_frames=options.batch_frames)
    print(
        f"scoring {len(evaluation.clips) + len(evaluation.threshold_clips)} clips with "
        f"{', '.join(bundle.model_id for bundle in evaluation.bundles)} ...",
        file=sys.stderr,
    )
    clip_scores, at_gains = score_clips(evaluation.clips, scorers, limits, evaluation.gains, diagnose=True)
    threshold_scores, _ = score_clips(evaluation.threshold_clips, scorers, limits)
    resamples = Resamples([clip.resampled_with for clip in evaluation.clips], options.resamples, options.seed)
    scored_by: dict[str, ScoredClips] = {}
    diagnosed_by: dict[str, list[DiagnosedClip]] = {}
    measures_of: dict[str, Measures] = {}
    for m, scorer in enumerate(scorers):
        scored = _scored_clips(evaluation, m, scorer, clip_scores[m], threshold_scores[m])
        measures = evaluate(scored, resamples)
        if options.ladder:
            measures["ladder"] = measure_ladder(scored, resamples)
        for name, sixteen_bits in (("level", False), ("level_at_16_bits", True)):
            if columns := [g for g, gain in enumerate(evaluation.gains) if gain.sixteen_bits == sixteen_bits]:
                measures[name] = measure_level(scored.score, at_gains[m][:, columns], resamples)
        if diagnosed := _diagnosed_clips(evaluation.clips, clip_scores[m], scorer.bundle.label_scale.high):
            measures |= measure_diagnoses(diagnosed, resamples)
            diagnosed_by[scorer.bundle.model_id] = diagnosed
        scored_by[scorer.bundle.model_id] = scored
        measures_of[scorer.bundle.model_id] = measures
    return scored_by, diagnosed_by, measures_of


def _diagnosed_clips(
    clips: Sequence[Clip], clip_scores: Sequence[ClipScores], best_score: float
) -> list[DiagnosedClip]:
    """Returns the clips with their diagnoses; empty if the model gives none."""
    return [
        diagnosed_clip(clip, scores.diagnosis, scores.frame_score, scores.counted, best_score)
        for clip, scores in zip(clips, clip_scores, strict=True)
        if scores.diagnosis is not None
    ]


def _scored_clips(
    evaluation: Evaluation,
    m: int,
    scorer: Scorer,
    clip_scores: Sequence[ClipScores],
    threshold_scores: Sequence[ClipScores],
) -> ScoredClips:
    """Returns the clips with the scores of the model at index `m`, and a threshold from the threshold clips."""
    label_scale, scale = evaluation.label_scales[m], scorer.bundle.label_scale
    threshold = None
    if evaluation.threshold_clips:
        clean = np.array([clip.clean for clip in evaluation.threshold_clips])
        threshold = choose_threshold(clean, np.array([scores.score for scores in threshold_scores]))
    return ScoredClips(
        clips=evaluation.clips,
        score=np.array([scores.score for scores in clip_scores]),
        localised=[
            localise(scores.frame_score, clip.distortions, scale.span, scores.silent)
            for clip, scores in zip(evaluation.clips, clip_scores, strict=True)
        ],
        # None becomes NaN.
        label=np.array([label_scale and clip.labels[label_scale.column] for clip in evaluation.clips], float),
        label_scale=label_scale,
        scale=scale,
        threshold=threshold,
    )


def _results(
    evaluation: Evaluation, measures_of: dict[str, Measures], scored_by: dict[str, ScoredClips]
) -> dict[str, Any]:
    """Returns the content of `evaluation.json`."""
    options, clips = evaluation.options, evaluation.clips
    return {
        "options": recorded(options),
        "clips": {
            "total": len(clips),
            "clean": sum(clip.clean for clip in clips),
            "speakers": len({clip.speaker for clip in clips if clip.speaker}),
            "by_set": dict(Counter(clip.set_name for clip in clips)),
        },
        "interval": f"95 %, percentiles of {options.resamples} resamples of the speakers",
        "notes": evaluation.notes,
        "versions": {name: version(name) for name in ("audiosieve", "tensorflow", "numpy")},
        "models": {
            bundle.model_id: {
                "network": bundle.network,
                "scale": bundle.label_scale.name,
                "label": label_scale.name if label_scale else None,
                "threshold": _threshold_facts(evaluation, scored_by[bundle.model_id]),
                **as_json(measures_of[bundle.model_id]),
                **_difference_from_first(bundle.model_id, measures_of, scored_by),
            }
            for bundle, label_scale in zip(evaluation.bundles, evaluation.label_scales, strict=True)
        },
    }


def _threshold_facts(evaluation: Evaluation, scored: ScoredClips) -> dict[str, Any] | None:
    clips = evaluation.threshold_clips
    if scored.threshold is None:
        return None
    return {
        **dataclasses.asdict(scored.threshold),
        "clips": len(clips),
        "clean": sum(clip.clean for clip in clips),
        "split": evaluation.options.threshold_split,
        "sets": sorted({clip.set_name for clip in clips}),
    }


def _difference_from_first(
    model_id: str, measures_of: dict[str, Measures], scored_by: dict[str, ScoredClips]
) -> dict[str, Any]:
    """Returns the differences from the first model; empty for the first model, and for another scale or label."""
    first = next(iter(measures_of))
    scales, first_scales = ((scored_by[name].label_scale, scored_by[name].scale) for name in (model_id, first))
    if model_id == first or scales != first_scales:
        return {}
    return {f"difference_from_{first}": as_json(differences(measures_of[model_id], measures_of[first]))}


def _draw(evaluation: Evaluation, measures_of: dict[str, Measures], scored_by: dict[str, ScoredClips]) -> None:
    from model.evaluation import figures

    for model_id, scored in scored_by.items():
        name = model_id.replace("@", "-")
        if scored.label_scale:
            figures.draw_predicted_against_target(
                evaluation.output / f"target-{name}.png",
                scored.label,
                scored.score,
                scored.clean,
                (scored.label_scale, scored.scale),
                model_id,
            )
        conditions = {part: rows for part in ("snr", "fault") if (rows := measures_of[model_id][f"by_{part}"])}
        figures.draw_conditions(
            evaluation.output / f"conditions-{name}.png", conditions, scored.label_scale, scored.scale, model_id
        )
    clip = evaluation.example or _median_clip(next(iter(scored_by.values())))
    if clip is not None:
        figures.draw_example(evaluation.output / "example.png", _example(clip, scored_by))


def _draw_diagnoses(
    output: Path, measures_of: dict[str, Measures], diagnosed_by: dict[str, list[DiagnosedClip]]
) -> None:
    from model.evaluation import diagnosis_figures as figures

    for model_id, clips in diagnosed_by.items():
        name = model_id.replace("@", "-")
        if "causes" in (measures := measures_of[model_id]):
            curves = {cause: part["frames"] for cause, part in measures["causes"]["by_cause"].items()}
            figures.draw_reliability(output / f"reliability-{name}.png", curves, model_id)
        is_real = np.array([not clip.clip.known for clip in clips])
        for value, axis in figures.SCATTERS.items():
            if value in measures:
                truth, predicted = true_and_predicted(clips, value)
                figures.draw_scatter(output / f"{value}-{name}.png", truth, predicted, is_real, axis, model_id)


def _median_clip(scored: ScoredClips) -> Clip | None:
    """Returns the clip with the median score among the partly degraded ones, if possible among those with noise only."""
    degraded = [n for n, localised in enumerate(scored.localised) if has_known_span(localised.bad)]
    noisy = [n for n in degraded if scored.clips[n].snr_db is not None and not scored.clips[n].faults]
    ordered = sorted(noisy or degraded, key=lambda n: scored.score[n])
    return scored.clips[ordered[len(ordered) // 2]] if ordered else None


def _example(clip: Clip, scored_by: dict[str, ScoredClips]) -> Example:
    # matplotlib is loaded only for drawing.
    from model.evaluation.figures import Example

    samples, reference = read_audio(clip)
    index = next(iter(scored_by.values())).clips.index(clip)
    scores = ", ".join(f"{model_id} {scored.score[index]:.2f}" for model_id, scored in scored_by.items())
    return Example(
        title=f"{clip.clip_id}: {scores}",
        samples=samples,
        reference=reference,
        spans=[(d.start_s, d.end_s) for d in partial(clip.distortions, num_frames(len(samples)))],
        frame_scores={model_id: scored.localised[index].frame_score for model_id, scored in scored_by.items()},
        scales={model_id: scored.scale for model_id, scored in scored_by.items()},
    )
