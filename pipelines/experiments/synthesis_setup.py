"""Setup of `audiosieve synthesize`: checks the options, lists the material, and returns the inputs of the pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from model.labels import LABEL_SCALES, PESQ_NB, PESQ_WB
from pipelines.common.argument_types import Range
from pipelines.common.arguments import recorded
from pipelines.common.errors import UsageError
from pipelines.experiments.material import select_material
from pipelines.experiments.synthesis import Synthesis
from transforms.corpus.sources import absolute, list_corpus
from transforms.errors import OutputError
from transforms.output.ledger import Job, Ledger
from transforms.schemas import SYNTHESIS_TABLES
from transforms.synthesis.clip_plan import ClipOptions
from transforms.synthesis.degradations.kinds import DEGRADATIONS
from transforms.synthesis.degradations.recording import Reverb
from transforms.synthesis.labels.pesq_labels import pesq_installed
from transforms.synthesis.labels.teachers import TEACHERS, missing_packages
from transforms.synthesis.materials import NOISE, RECORDING, RIR, SPEECH, Material, assign_splits
from transforms.synthesis.rooms import simulation_installed


@dataclasses.dataclass(frozen=True)
class SynthesizeOptions:
    """Options of `audiosieve synthesize`. Ratios are shares from 0 to 1.

    Attributes:
        speech: directory, glob or manifest of clean speech.
        noise: directory, glob or manifest of noise.
        output: folder for the set.
        clips: number of clips, at least 1.
        snr: ranges of SNRs in dB, one of which is drawn for each clip.
        clean_ratio: share of clips without noise.
        noises: smallest and largest number of noises in a noisy clip, at least 1.
        partial_ratio: share of noisy clips whose noise covers only a part.
        partial_s: length of this part in seconds, at least 0.02.
        fault_ratio: share of clips with faults.
        max_faults: largest number of faults in a clip, at least 1.
        faults: kinds of faults, with the range of their strength.
        rir: directory, glob or manifest of impulse responses of rooms; None for simulated rooms only.
        variation_ratio: share of clips whose clean speech is varied.
        speed_ratio: share of clips whose speech is played slower or faster.
        expander_ratio: share of clips with an expander on the speech.
        noise_variation_ratio: share of noises that are varied.
        duration: length of the clips in seconds, at least 0.25.
        peak_dbfs: peak level of the clips in dBFS, at most 0.
        labels: names of the labels and teachers.
        teacher_ratio: share of the made clips that teachers rate.
        as_is: directory, glob or manifest of recordings with all their flaws; None for none.
        as_is_ratio: share of clips that are unchanged parts of these recordings.
        max_disagreement: largest difference between PESQ and the score of its frames, at least 0.
        keep_reference: whether to store the clean reference of each clip.
        seed: seed of the set, at least 0.
        holdout: share of speakers and noise groups for the split "val", 0 to under 1; None for the split of the manifest.
        where: conditions on columns of the manifests.
        min_dynamic_range_db: smallest dynamic range of usable speech, in dB.
    """

    speech: str
    noise: str
    output: str
    clips: int
    snr: tuple[Range, ...]
    clean_ratio: float
    noises: Range
    partial_ratio: float
    partial_s: Range
    fault_ratio: float
    max_faults: int
    faults: tuple[tuple[str, tuple[float, float]], ...]
    rir: str | None
    variation_ratio: float
    speed_ratio: float
    expander_ratio: float
    noise_variation_ratio: float
    duration: Range
    peak_dbfs: Range
    labels: tuple[str, ...]
    teacher_ratio: float
    as_is: str | None
    as_is_ratio: float
    max_disagreement: float
    keep_reference: bool
    seed: int
    holdout: float | None
    where: tuple[str, ...]
    min_dynamic_range_db: float

    def as_record(self) -> dict[str, Any]:
        """Returns the options for the record of the set; lists have the form of the command line."""
        faults = [f"{kind}={Range(*ends)}" if DEGRADATIONS[kind].default else kind for kind, ends in self.faults]
        return {**recorded(self), "labels": ",".join(self.labels), "faults": ",".join(faults)}


def set_up(options: SynthesizeOptions) -> Synthesis:
    """Checks the options against each other and against the installed packages, and lists the material.

    Raises:
        UsageError, SourceError, OutputError: an option cannot be satisfied.
    """
    _check_installed(options)
    _check_as_is(options)
    items = _material(options)
    ledger = Ledger(absolute(options.output), tuple(SYNTHESIS_TABLES))
    ledger.check_writable()
    check_empty(ledger)
    return Synthesis(
        materials=items,
        min_dynamic_range_db=options.min_dynamic_range_db,
        clips=options.clips,
        options=_clip_options(options),
        ledger=ledger,
        run_id=Ledger.new_run_id(),
    )


def check_empty(ledger: Ledger) -> None:
    """Checks that the output holds no set.

    Raises:
        OutputError: it does.
    """
    if ledger.runs(Job.SYNTHESIZE):
        raise OutputError(f"{ledger.root}: already holds a set; choose another --output, or delete the set")


def _check_installed(options: SynthesizeOptions) -> None:
    """Checks that the packages of the extras `train` and `teachers` are installed, if the options need them."""
    if {PESQ_WB.name, PESQ_NB.name} & set(options.labels) and not pesq_installed():
        raise UsageError(
            "PESQ labels need the extra `train` (pip install 'audiosieve[train]'), which needs a C compiler"
        )
    reverberates = options.fault_ratio > 0 and Reverb.KIND in dict(options.faults)
    if (options.variation_ratio > 0 or reverberates) and not simulation_installed():
        raise UsageError("simulated rooms need the extra `train` (pip install 'audiosieve[train]')")
    if missing := missing_packages(_teachers(options)):
        names = ",".join(_teachers(options))
        raise UsageError(
            f"--labels {names} needs the extra `teachers` (pip install 'audiosieve[teachers]'); missing: {', '.join(missing)}"
        )


def _check_as_is(options: SynthesizeOptions) -> None:
    """Checks that parts of recordings have a source, a share and a label, or none of these."""
    if (options.as_is is None) != (options.as_is_ratio == 0):
        given, other = ("--as_is", "--as_is_ratio") if options.as_is else ("--as_is_ratio", "--as_is")
        raise UsageError(f"{given} has no effect without {other}")
    if options.as_is and not _teachers(options):
        raise UsageError(f"--as_is needs ratings: add {' or '.join(TEACHERS)} to --labels")


def _teachers(options: SynthesizeOptions) -> tuple[str, ...]:
    return tuple(name for name in options.labels if name in TEACHERS)


def _material(options: SynthesizeOptions) -> list[Material]:
    """Returns the speech, noise, room responses and recordings, not yet measured.

    Raises:
        UsageError: a kind of material is missing, a split of the speech has no noise, or a speaker is in two splits.
    """
    items = [
        item
        for kind, source in ((SPEECH, options.speech), (NOISE, options.noise), (RIR, options.rir))
        if source
        for item in assign_splits(select_material(list_corpus(source), kind, options.where), kind, options.holdout)
    ]
    noisy = {item.split for item in items if item.kind == NOISE}
    without_noise = {item.split for item in items if item.kind == SPEECH} - noisy
    if without_noise and options.clean_ratio < 1:
        raise UsageError(
            f"there is speech but no noise for the split {sorted(without_noise)[0]!r}; noise needs at least two groups "
            "(folders, or files if there are no folders, or values of the manifest's column group)"
        )
    return items + _recordings(options, items)


def _recordings(options: SynthesizeOptions, items: Sequence[Material]) -> list[Material]:
    """Returns the recordings with all their flaws, which a manifest calls speech, too.

    Raises:
        UsageError: there are none, or one of their speakers is in another split in the material.
    """
    if not options.as_is:
        return []
    refs = select_material(list_corpus(options.as_is), SPEECH, options.where)
    recordings = [dataclasses.replace(item, kind=RECORDING) for item in assign_splits(refs, SPEECH, options.holdout)]
    split_of = {item.group: item.split for item in items if item.kind == SPEECH}
    for item in recordings:
        if (split := split_of.get(item.group, item.split)) != item.split:
            raise UsageError(
                f"the speaker {item.group!r} is in the split {split!r} of --speech and in {item.split!r} of --as_is; "
                "give both a manifest with the columns speaker and split"
            )
    return recordings


def _clip_options(options: SynthesizeOptions) -> ClipOptions:
    return ClipOptions(
        seed=options.seed,
        snr_db=tuple((low, high) for low, high in options.snr),
        clean_ratio=options.clean_ratio,
        duration_s=(options.duration.low, options.duration.high),
        peak_dbfs=(options.peak_dbfs.low, options.peak_dbfs.high),
        labels=tuple(LABEL_SCALES[name] for name in options.labels if name in LABEL_SCALES),
        noises=(int(options.noises.low), int(options.noises.high)),
        partial_ratio=options.partial_ratio,
        partial_s=(options.partial_s.low, options.partial_s.high),
        variation_ratio=options.variation_ratio,
        speed_ratio=options.speed_ratio,
        expander_ratio=options.expander_ratio,
        noise_variation_ratio=options.noise_variation_ratio,
        degradation_ratio=options.fault_ratio,
        max_degradations=options.max_faults,
        degradations=options.faults,
        keep_reference=options.keep_reference,
        max_disagreement=options.max_disagreement,
        teachers=_teachers(options),
        teacher_ratio=options.teacher_ratio,
        as_is_ratio=options.as_is_ratio,
    )
