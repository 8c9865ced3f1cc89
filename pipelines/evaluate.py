"""`audiosieve evaluate`: how far models can be trusted, measured on labelled sets."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import DEFAULT, Bundle, bundled_names
from model.evaluation.bootstrap import Resamples
from model.evaluation.localisation import has_known_span, localise, partial
from model.evaluation.measures import (
    Clip,
    EvaluationError,
    Scored,
    choose_threshold,
    differences,
    evaluate,
    ladder_steps,
    measure_ladder,
    measure_level,
    plain,
)
from model.evaluation.text_tables import report
from model.features import num_frames
from model.labels import LABEL_SCALES, LabelScale
from model.runtime import start_tensorflow
from pipelines.common.arguments import Parser
from pipelines.common.errors import UsageError, command
from transforms.evaluation.labelled_clips import Gain, read_audio, read_clips, score_clips
from transforms.evaluation.tables import write_tables
from transforms.scoring.batching import BatchLimits
from transforms.scoring.bundles import find_bundle

WIDEST_GAIN_DB = 60.0


@dataclasses.dataclass
class EvaluateConfig:
    """An evaluation.

    Attributes:
        bundles: the models.
        clips: what they are measured on.
        threshold_clips: what the threshold for clean clips is chosen on; empty to choose none.
        label_scale: for each model, the label that its scores are compared to; None where there is none.
        gains: gains to score the clips again with.
        ladder: whether to measure the order along the sets' SNRs.
        example: which clip to draw; None to draw none.
        output: an empty folder.
        limits: of the batches.
        notes: what the reader of the results must know.
    """

    bundles: list[Bundle]
    clips: list[Clip]
    threshold_clips: list[Clip]
    label_scale: list[LabelScale | None]
    gains: list[Gain]
    ladder: bool
    example: Clip | None
    output: Path
    limits: BatchLimits
    notes: list[str]


@command("evaluate")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, scores the clips with every model, measures, and writes and prints what it found."""
    started = time.monotonic()
    options = _parser().parse_args(argv)
    config = _config(options)
    start_tensorflow(options.threads)
    from model.inference.scorer import Scorer

    scorers = [Scorer(bundle) for bundle in config.bundles]
    print(
        f"scoring {len(config.clips + config.threshold_clips)} clips with {', '.join(b.model_id for b in config.bundles)} ...",
        file=sys.stderr,
    )
    frame_scores, at_gains = score_clips(config.clips, scorers, config.limits, config.gains)
    for_threshold, _ = score_clips(config.threshold_clips, scorers, config.limits)

    resamples = Resamples([clip.speaker for clip in config.clips], options.resamples, options.seed)
    models: dict[str, dict[str, Any]] = {}
    scored_by: dict[str, Scored] = {}
    for m, scorer in enumerate(scorers):
        scored = _scored(config, m, scorer, frame_scores[m], for_threshold[m])
        found = evaluate(scored, resamples)
        if config.ladder:
            found["ladder"] = measure_ladder(scored, resamples)
        for name, sixteen_bits in (("level", False), ("level_at_16_bits", True)):
            if which := [g for g, gain in enumerate(config.gains) if gain.sixteen_bits == sixteen_bits]:
                found[name] = measure_level(scored.score, at_gains[m][:, which], resamples)
        models[scorer.bundle.model_id], scored_by[scorer.bundle.model_id] = found, scored

    write_tables(config.output, scored_by)
    seconds = round(time.monotonic() - started, 3)
    evaluation = {**_evaluation(config, options, models, scored_by), "timings": {"total_s": seconds}}
    (config.output / "evaluation.json").write_text(json.dumps(evaluation, indent=2, allow_nan=False) + "\n")
    _draw(config, models, scored_by)
    print(f"{report(models, config.notes)}\n\nthe results are in {config.output}")
    return 0


def _scored(
    config: EvaluateConfig,
    m: int,
    scorer: Any,
    frame_scores: Sequence[np.ndarray],
    for_threshold: Sequence[np.ndarray],
) -> Scored:
    """What model number `m` says of the clips, with a threshold from its scores of the clips for that."""
    label_scale, scale = config.label_scale[m], scorer.bundle.label_scale
    threshold = None
    if config.threshold_clips:
        clean = np.array([clip.clean for clip in config.threshold_clips])
        threshold = choose_threshold(clean, np.array([scorer.pool(scores) for scores in for_threshold]))
    return Scored(
        clips=config.clips,
        score=np.array([scorer.pool(scores) for scores in frame_scores]),
        localised=[
            localise(scores, clip.distortions, scale.span)
            for clip, scores in zip(config.clips, frame_scores, strict=True)
        ],
        # None becomes NaN.
        label=np.array([label_scale and clip.labels[label_scale.column] for clip in config.clips], float),
        label_scale=label_scale,
        scale=scale,
        threshold=threshold,
    )


def _evaluation(
    config: EvaluateConfig,
    options: argparse.Namespace,
    models: dict[str, dict[str, Any]],
    scored_by: dict[str, Scored],
) -> dict[str, Any]:
    """All that `evaluation.json` says."""
    first = next(iter(models))
    of_threshold = {
        "clips": len(config.threshold_clips),
        "clean": sum(clip.clean for clip in config.threshold_clips),
        "split": options.threshold_split,
        "sets": sorted({clip.set_name for clip in config.threshold_clips}),
    }
    described = {}
    for bundle, label_scale in zip(config.bundles, config.label_scale, strict=True):
        scored, found = scored_by[bundle.model_id], models[bundle.model_id]
        described[bundle.model_id] = {
            "network": bundle.network,
            "scale": bundle.label_scale.name,
            "label": label_scale.name if label_scale else None,
            "threshold": {**dataclasses.asdict(scored.threshold), **of_threshold} if scored.threshold else None,
            **plain(found),
        }
        same = (scored.label_scale, scored.scale) == (scored_by[first].label_scale, scored_by[first].scale)
        if bundle.model_id != first and same:
            described[bundle.model_id][f"difference_from_{first}"] = plain(differences(found, models[first]))
    return {
        "options": vars(options),
        "clips": {
            "total": len(config.clips),
            "clean": sum(clip.clean for clip in config.clips),
            "speakers": len({clip.speaker for clip in config.clips}),
            "by_set": dict(Counter(clip.set_name for clip in config.clips)),
        },
        "interval": f"95 %, percentiles of {options.resamples} resamples of the speakers",
        "notes": config.notes,
        "versions": {name: version(name) for name in ("audiosieve", "tensorflow", "numpy")},
        "models": described,
    }


def _draw(config: EvaluateConfig, models: dict[str, dict[str, Any]], scored_by: dict[str, Scored]) -> None:
    from model.evaluation import figures

    for model_id, scored in scored_by.items():
        name = model_id.replace("@", "-")
        if scored.label_scale:
            figures.draw_predicted_against_target(
                config.output / f"target-{name}.png",
                scored.label,
                scored.score,
                scored.clean,
                (scored.label_scale, scored.scale),
                model_id,
            )
        conditions = {part: rows for part in ("snr", "fault") if (rows := models[model_id][f"by_{part}"])}
        figures.draw_conditions(
            config.output / f"conditions-{name}.png", conditions, scored.label_scale, scored.scale, model_id
        )
    clip = config.example or _median_clip(next(iter(scored_by.values())))
    if clip is not None:
        figures.draw_example(config.output / "example.png", _example(clip, scored_by))


def _median_clip(scored: Scored) -> Clip | None:
    """Of the clips that are bad in part, by noise if there are such, that with the median score."""
    spans = [n for n, found in enumerate(scored.localised) if has_known_span(found.bad)]
    noisy = [n for n in spans if scored.clips[n].snr_db is not None and not scored.clips[n].faults]
    ordered = sorted(noisy or spans, key=lambda n: scored.score[n])
    return scored.clips[ordered[len(ordered) // 2]] if ordered else None


def _example(clip: Clip, scored_by: dict[str, Scored]) -> Any:
    """A clip as `figures.Example`, loaded with matplotlib where one is drawn."""
    from model.evaluation.figures import Example

    samples, reference = read_audio(clip)
    frame_scores = {
        model_id: scored.localised[scored.clips.index(clip)].frame_score for model_id, scored in scored_by.items()
    }
    scores = ", ".join(
        f"{model_id} {scored.score[scored.clips.index(clip)]:.2f}" for model_id, scored in scored_by.items()
    )
    return Example(
        title=f"{clip.clip_id}: {scores}",
        samples=samples,
        reference=reference,
        spans=[(d.start_s, d.end_s) for d in partial(clip.distortions, num_frames(len(samples)))],
        frame_scores=frame_scores,
        scales={model_id: scored.scale for model_id, scored in scored_by.items()},
    )


def _config(options: argparse.Namespace) -> EvaluateConfig:
    """Checks all that can be checked before anything is scored.

    Raises:
        UsageError, SourceError, BundleError, OutputError: something cannot be; the message says what.
    """
    for name, least in (("batch_size", 1), ("batch_frames", 1), ("threads", 1), ("resamples", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value}; it must be at least {least}")
    gains = [] if options.gains is None else _gains(options.gains)
    output = _empty_folder(options.output)
    bundles = [find_bundle(name) for name in options.model or [DEFAULT]]
    twice = [model_id for model_id, count in Counter(bundle.model_id for bundle in bundles).items() if count > 1]
    if twice:
        raise UsageError(f"--model: {twice[0]} is asked for twice")

    notes: list[str] = []
    known = _read_sets([*options.sets, *options.set])
    clips = [clip for clip in known if clip.split == options.split]
    if not clips:
        splits = ", ".join(sorted({clip.split for clip in known}))
        raise UsageError(f"the sets hold no clip of the split {options.split!r}; theirs are: {splits}")
    config = EvaluateConfig(
        bundles=bundles,
        clips=clips,
        threshold_clips=_threshold_clips(options, known, notes),
        label_scale=[_label_scale(options.label, bundle, clips, notes) for bundle in bundles],
        gains=gains,
        ladder=options.ladder,
        example=_find_clip(options.clip, clips),
        output=output,
        limits=BatchLimits(batch_size=options.batch_size, batch_frames=options.batch_frames),
        notes=notes,
    )
    if options.ladder:
        try:
            ladder_steps(clips)
        except EvaluationError as error:
            raise UsageError(f"--ladder: {error}") from error
    return config


def _read_sets(names: Sequence[str]) -> list[Clip]:
    if not names:
        raise UsageError("which SET? Name at least one set made by `audiosieve synthesize`")
    twice = [name for name, count in Counter(str(Path(name).resolve()) for name in names).items() if count > 1]
    if twice:
        raise UsageError(f"the set {twice[0]} is named twice")
    return [clip for name in names for clip in read_clips(name)]


def _threshold_clips(options: argparse.Namespace, known: list[Clip], notes: list[str]) -> list[Clip]:
    """The clips that the threshold is chosen on: never those that it is judged on."""
    if options.threshold_set:
        here = {Path(name).resolve() for name in [*options.sets, *options.set]}
        if options.threshold_split == options.split and here & {Path(name).resolve() for name in options.threshold_set}:
            raise UsageError("--threshold_set: the threshold would be chosen on the clips that it is judged on")
        known = _read_sets(options.threshold_set)
    elif options.threshold_split == options.split:
        raise UsageError(
            f"--threshold_split {options.split}: the threshold would be chosen on the clips that it is judged on"
        )
    chosen = [clip for clip in known if clip.split == options.threshold_split]
    clean = sum(clip.clean for clip in chosen)
    if 0 < clean < len(chosen):
        return chosen
    lack = f"the split {options.threshold_split!r} holds {clean} clean clips and {len(chosen) - clean} degraded ones"
    if options.threshold_set:
        raise UsageError(f"--threshold_set: {lack}; a threshold needs both")
    notes.append(f"no threshold for clean clips: {lack}; name a --threshold_set that holds both")
    return []


def _label_scale(asked_for: str | None, bundle: Bundle, clips: Sequence[Clip], notes: list[str]) -> LabelScale | None:
    """The label to compare a model's scores to: what is asked for, the model's own, or another that the set has."""
    there = [scale for scale in LABEL_SCALES.values() if any(clip.labels[scale.column] is not None for clip in clips)]
    if asked_for:
        if LABEL_SCALES[asked_for] not in there:
            raise UsageError(
                f"--label {asked_for}: no clip has it; there is {', '.join(s.name for s in there) or 'none'}"
            )
        there = [LABEL_SCALES[asked_for]]
    if not there:
        notes.append(f"{bundle.model_id}: no clip has a label, so there is nothing for its scores to agree with")
        return None
    if bundle.label_scale in there:
        return bundle.label_scale
    notes.append(
        f"{bundle.model_id}: scores on the scale {bundle.label_scale.name}, the labels are {there[0].name}: "
        "their correlation holds, their distance (RMSE) means nothing and is left out"
    )
    return there[0]


def _find_clip(clip_id: str | None, clips: Sequence[Clip]) -> Clip | None:
    found = [clip for clip in clips if clip.clip_id == clip_id]
    if clip_id and not found:
        raise UsageError(f"--clip {clip_id}: there is no such clip in the split")
    return found[0] if found else None


def _gains(text: str) -> list[Gain]:
    """Reads "-20:6": the lowest and the highest gain, each exact and rounded to 16 bits."""
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise UsageError(f"--gains: {text!r} is not LOW:HIGH") from None
    if not -WIDEST_GAIN_DB <= low <= high <= WIDEST_GAIN_DB:
        raise UsageError(f"--gains: {text!r} must rise from LOW to HIGH, within {WIDEST_GAIN_DB:g} dB")
    return [Gain(db, sixteen_bits) for sixteen_bits in (False, True) for db in (low, high)]


def _empty_folder(name: str) -> Path:
    output = Path(name).expanduser()
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UsageError(f"--output {output} is not an empty folder")
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: cannot write there ({error.strerror})") from error
    return output


def _parser() -> Parser:
    parser = Parser(
        "evaluate",
        "Measure models against labelled sets: agreement, clean against degraded, where a clip is bad, order, level.",
    )
    add = parser.add_argument
    add("sets", nargs="*", metavar="SET", help="a set made by `audiosieve synthesize`; several are taken together")
    add("--set", action="append", default=[], metavar="SET", help="the same; may be repeated")
    add("--output", required=True, help="empty folder for the results")
    add("--model", action="append", metavar="NAME_OR_PATH", help="a bundled model "
        f"({', '.join(bundled_names())}) or the folder of a bundle; may be repeated; {DEFAULT} if there is none")  # fmt: skip
    add("--split", default="val", help="which clips to measure on")
    add("--label", choices=list(LABEL_SCALES), help="which label; by default the model's own, or what the sets have")
    add("--threshold_split", default="train", help="the threshold for clean clips is chosen on this split ...")
    add("--threshold_set", action="append", default=[], metavar="SET", help="... of this set; by default of the sets "
        "themselves")  # fmt: skip
    add("--resamples", type=int, default=1000, help="of the speakers, for the 95 %% intervals; 0 for none")
    add("--seed", type=int, default=0, help="of the resamples")
    add("--ladder", action="store_true", help="measure how often a score rises with the SNR: the sets hold the same "
        "clips, each at one SNR")  # fmt: skip
    add(
        "--gains",
        metavar="LOW:HIGH",
        help="score every clip again after these two gains in dB (or what of them does not clip), "
        "exact and rounded to 16 bits",
    )
    add("--clip", metavar="ID", help="which clip to draw; by default that of the median score among those that are "
        "bad in part")  # fmt: skip
    add("--batch_size", type=int, default=BatchLimits().batch_size, help="clips in a batch at most")
    add("--batch_frames", type=int, default=BatchLimits().batch_frames, help="padded frames in a batch at most")
    add("--threads", type=int, help="threads of TensorFlow; by default its own choice")
    return parser
