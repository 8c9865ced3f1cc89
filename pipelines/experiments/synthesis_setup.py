"""Setup of `audiosieve synthesize`: checks the options, lists the material, and returns the inputs of the pipeline."""

from __future__ import annotations

import dataclasses
from collections import Counter
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
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.degradations.kinds import DEGRADATIONS
from transforms.synthesis.degradations.media_codecs import INSTALL, missing_encoders
from transforms.synthesis.degradations.recording import Reverb
from transforms.synthesis.degradations.transmission import Codec
from transforms.synthesis.labels.pesq_labels import pesq_installed
from transforms.synthesis.labels.teachers import TEACHERS, missing_packages
from transforms.synthesis.materials import MUSIC, NOISE, RECORDING, RIR, SPEECH, Material, assign_splits
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
        music: directory, glob or manifest of music; None for no music.
        music_ratio: share of clips with music behind the speech.
        music_snr: lowest and highest SNR of the speech to the music, in dB.
        second_voice_ratio: share of clips with a second voice.
        second_voice_snr: lowest and highest level of the speech over the second voice, in dB.
        no_speech_ratio: share of clips without speech.
        noises: smallest and largest number of noises in a noisy clip, at least 1.
        partial_ratio: share of noises, of music and of second voices that cover only a part of the clip.
        partial_s: shortest and longest such part in seconds, at least 0.02.
        fault_ratio: share of clips with degradations.
        max_faults: largest number of degradations in a clip, at least 1.
        partial_fault_ratio: share of degradations that cover only a part of the clip.
        faults: kinds of degradations, with the range of their strength.
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
    music: str | None
    music_ratio: float
    music_snr: Range
    second_voice_ratio: float
    second_voice_snr: Range
    no_speech_ratio: float
    noises: Range
    partial_ratio: float
    partial_s: Range
    fault_ratio: float
    max_faults: int
    partial_fault_ratio: float
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
    """Checks that the packages of the extras `train`, `media` and `teachers` are installed, if the options need them."""
    if {PESQ_WB.name, PESQ_NB.name} & set(options.labels) and not pesq_installed():
        raise UsageError(
            "PESQ labels need the extra `train` (pip install 'audiosieve[train]'), which needs a C compiler"
        )
    kinds = dict(options.faults) if options.fault_ratio > 0 else {}
    if (options.variation_ratio > 0 or Reverb.KIND in kinds) and not simulation_installed():
        raise UsageError("simulated rooms need the extra `train` (pip install 'audiosieve[train]')")
    if Codec.KIND in kinds and (missing := missing_encoders()):
        raise UsageError(
            f"the fault {Codec.KIND} needs the extra `media` ({INSTALL}); not found: {', '.join(missing)}. "
            f"Without it, leave {Codec.KIND} out of --faults"
        )
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
    """Returns the speech, noise, music, room responses and recordings, not yet measured.

    Raises:
        UsageError: a kind of material is missing, or a split of the speech lacks noise, music or a second speaker, or
            a speaker is in two splits.
    """
    if options.music_ratio > 0 and not options.music:
        raise UsageError(f"--music_ratio is {options.music_ratio:g}; name the music with --music")
    sources = ((SPEECH, options.speech), (NOISE, options.noise), (MUSIC, options.music), (RIR, options.rir))
    items = [
        item
        for kind, source in sources
        if source
        for item in assign_splits(select_material(list_corpus(source), kind, options.where), kind, options.holdout)
    ]
    for kind, is_needed in ((NOISE, options.clean_ratio < 1), (MUSIC, options.music_ratio > 0)):
        if is_needed:
            _check_splits(items, kind)
    if options.second_voice_ratio > 0:
        _check_speakers(items)
    return items + _recordings(options, items)


def _check_splits(items: Sequence[Material], kind: str) -> None:
    """Checks that each split of the speech has noise, or music."""
    missing = {item.split for item in items if item.kind == SPEECH} - {
        item.split for item in items if item.kind == kind
    }
    if missing:
        raise UsageError(
            f"there is speech but no {kind} for the split {sorted(missing)[0]!r}; {kind} needs at least two groups "
            "(folders, or files if there are no folders, or values of the manifest's column group)"
        )


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


def _check_speakers(items: Sequence[Material]) -> None:
    """Checks that each split of the speech has two speakers."""
    speakers = {(item.split, item.group) for item in items if item.kind == SPEECH}
    for split, count in sorted(Counter(split for split, _ in speakers).items()):
        if count < 2:
            raise UsageError(f"the split {split!r} has a single speaker; --second_voice_ratio needs two in each split")


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
        music_ratio=options.music_ratio,
        music_snr_db=(options.music_snr.low, options.music_snr.high),
        second_voice_ratio=options.second_voice_ratio,
        second_voice_snr_db=(options.second_voice_snr.low, options.second_voice_snr.high),
        no_speech_ratio=options.no_speech_ratio,
        partial_degradation_ratio=options.partial_fault_ratio,
        max_disagreement=options.max_disagreement,
        teachers=_teachers(options),
        teacher_ratio=options.teacher_ratio,
        as_is_ratio=options.as_is_ratio,
    )
