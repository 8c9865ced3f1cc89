"""Setup of `audiosieve evaluate`: finds and checks models, clips and labels before any clip is scored."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from model.bundle import DEFAULT, Bundle
from model.evaluation.ladder import ladder_steps
from model.evaluation.scored_clips import Clip, EvaluationError
from model.labels import LABEL_SCALES, LabelScale
from pipelines.common.argument_types import Range
from pipelines.common.errors import UsageError
from transforms.evaluation.labelled_clips import Gain, read_clips
from transforms.scoring.bundles import find_bundle


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Options of `audiosieve evaluate`.

    Attributes:
        sets: folders of labelled sets, at least one.
        output: empty folder for the results.
        model: names or folders of models; empty for the default model.
        split: split of the measured clips.
        label: name of the label; None for the label of each model, or else one that the sets have.
        threshold_split: split of the clips from which the threshold is chosen.
        threshold_set: folders of the sets from which the threshold is chosen; empty for `sets`.
        resamples: number of resamples of the speakers, at least 0.
        seed: seed of the resamples, at least 0.
        ladder: whether to measure how often a score rises with the SNR of the sets.
        gains: two gains in dB, with each of which each clip is scored again; None for no gains.
        clip: id of the clip to draw; None to choose one.
        batch_size: largest number of clips in a batch, at least 1.
        batch_frames: largest number of padded frames in a batch, at least 1.
        threads: TensorFlow threads, at least 1; None for TensorFlow's choice.
    """

    sets: tuple[str, ...]
    output: str
    model: tuple[str, ...]
    split: str
    label: str | None
    threshold_split: str
    threshold_set: tuple[str, ...]
    resamples: int
    seed: int
    ladder: bool
    gains: Range | None
    clip: str | None
    batch_size: int
    batch_frames: int
    threads: int | None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Inputs of an evaluation.

    Attributes:
        options: options of the command.
        bundles: models.
        clips: measured clips.
        threshold_clips: clips from which the threshold is chosen; empty for no threshold.
        label_scales: label scale to which the scores of each model are compared; None if there is no label.
        gains: gains with which each clip is scored again.
        example: clip to draw; None to choose one.
        output: empty folder for the results.
        notes: notes for the reader of the results, one sentence each.
    """

    options: EvaluateOptions
    bundles: tuple[Bundle, ...]
    clips: tuple[Clip, ...]
    threshold_clips: tuple[Clip, ...]
    label_scales: tuple[LabelScale | None, ...]
    gains: tuple[Gain, ...]
    example: Clip | None
    output: Path
    notes: tuple[str, ...]


def set_up(options: EvaluateOptions) -> Evaluation:
    """Finds the models, reads the descriptions of the clips, and creates the output folder.

    Raises:
        UsageError, SourceError, BundleError: an option cannot be satisfied.
    """
    output = Path(options.output).expanduser()
    _check_empty(output)
    bundles = _bundles(options.model or (DEFAULT,))
    all_clips = _read_sets(options.sets)
    clips = [clip for clip in all_clips if clip.split == options.split]
    if not clips:
        splits = ", ".join(sorted({clip.split for clip in all_clips}))
        raise UsageError(f"--split {options.split}: the sets have no clip in this split; their splits: {splits}")
    _check_ladder(options, clips)
    notes: list[str] = []
    threshold_clips, note = _threshold_clips(options, all_clips)
    notes += [note] if note else []
    label_scales = []
    for bundle in bundles:
        label_scale, note = _label_scale(options.label, bundle, clips)
        label_scales.append(label_scale)
        notes += [note] if note else []
    evaluation = Evaluation(
        options=options,
        bundles=tuple(bundles),
        clips=tuple(clips),
        threshold_clips=tuple(threshold_clips),
        label_scales=tuple(label_scales),
        gains=_gains(options.gains),
        example=_example(options.clip, clips),
        output=output,
        notes=tuple(notes),
    )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: cannot write there ({error.strerror})") from error
    return evaluation


def _check_empty(folder: Path) -> None:
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"--output {folder} is not an empty folder")
    except OSError as error:
        raise UsageError(f"--output {folder}: cannot be read ({error.strerror})") from error


def _bundles(names: Sequence[str]) -> list[Bundle]:
    bundles = [find_bundle(name) for name in names]
    if repeated := _repeated([bundle.model_id for bundle in bundles]):
        raise UsageError(f"--model: {repeated} is given twice")
    return bundles


def _read_sets(folders: Sequence[str]) -> list[Clip]:
    if repeated := _repeated([str(Path(folder).resolve()) for folder in folders]):
        raise UsageError(f"the set {repeated} is given twice")
    return [clip for folder in folders for clip in read_clips(folder)]


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _check_ladder(options: EvaluateOptions, clips: Sequence[Clip]) -> None:
    if options.ladder:
        try:
            ladder_steps(clips)
        except EvaluationError as error:
            raise UsageError(f"--ladder: {error}") from error


def _threshold_clips(options: EvaluateOptions, all_clips: Sequence[Clip]) -> tuple[list[Clip], str]:
    """Returns the clips from which the threshold is chosen, and a note if there are none.

    Raises:
        UsageError: the threshold would be chosen on the clips that it is judged on, or `--threshold_set` has no clean or
            no degraded clips.
    """
    conflict = "the threshold would be chosen on the clips that it is judged on"
    same_split = options.threshold_split == options.split
    if options.threshold_set:
        judged = {Path(folder).resolve() for folder in options.sets}
        if same_split and judged & {Path(folder).resolve() for folder in options.threshold_set}:
            raise UsageError(f"--threshold_set: {conflict}")
        all_clips = _read_sets(options.threshold_set)
    elif same_split:
        raise UsageError(f"--threshold_split {options.threshold_split}: {conflict}; choose another split")
    clips = [clip for clip in all_clips if clip.split == options.threshold_split and clip.is_clean_or_degraded]
    clean = sum(clip.clean for clip in clips)
    if 0 < clean < len(clips):
        return clips, ""
    counts = f"the split {options.threshold_split!r} has {clean} clean clips and {len(clips) - clean} degraded ones"
    if options.threshold_set:
        raise UsageError(f"--threshold_set: {counts}; a threshold needs both")
    return [], f"no threshold for clean clips: {counts}; give a --threshold_set that has both"


def _label_scale(requested: str | None, bundle: Bundle, clips: Sequence[Clip]) -> tuple[LabelScale | None, str]:
    """Returns the label scale to which the scores of a model are compared, and a note if it is not the model's own.

    Args:
        requested: name of the requested label; None for the label of the model, or else any label of the clips.
        bundle: the model.
        clips: the clips.

    Raises:
        UsageError: no clip has the requested label.
    """
    scales = [scale for scale in LABEL_SCALES.values() if any(clip.labels[scale.column] is not None for clip in clips)]
    if requested:
        if LABEL_SCALES[requested] not in scales:
            names = ", ".join(scale.name for scale in scales) or "none"
            raise UsageError(f"--label {requested}: no clip has it; labels of the clips: {names}")
        scales = [LABEL_SCALES[requested]]
    if not scales:
        return None, f"{bundle.model_id}: no clip has a label, so agreement is not measured"
    if bundle.label_scale in scales:
        return bundle.label_scale, ""
    return scales[0], (
        f"{bundle.model_id}: its scores are on the scale {bundle.label_scale.name}, the labels on {scales[0].name}; "
        "the correlation is valid; the RMSE is meaningless and left out"
    )


def _gains(ends: Range | None) -> tuple[Gain, ...]:
    """Returns the lowest and the highest gain, each exact and rounded to 16 bits."""
    if ends is None:
        return ()
    return tuple(Gain(db, sixteen_bits) for sixteen_bits in (False, True) for db in ends)


def _example(clip_id: str | None, clips: Sequence[Clip]) -> Clip | None:
    if clip_id is None:
        return None
    clip = next((clip for clip in clips if clip.clip_id == clip_id), None)
    if clip is None:
        raise UsageError(f"--clip {clip_id}: there is no such clip in the split")
    return clip
