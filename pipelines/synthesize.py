"""`audiosieve synthesize`: clean speech + noise and faults -> a labelled training set in Parquet."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import apache_beam as beam

from model.labels import LABEL_SCALES, PSEUDO
from pipelines.common.arguments import Parser, parse
from pipelines.common.errors import UsageError, command
from pipelines.common.runners import beam_options
from transforms.corpus.sources import absolute, list_corpus
from transforms.elements import REJECTS, AudioRef, printable
from transforms.errors import OutputError
from transforms.output.ledger import Ledger, count_rows
from transforms.output.parquet_sink import WriteTable
from transforms.output.receipts import GatherReceipt, Receipt
from transforms.schemas import CLIPS, SYNTHESIS_TABLES
from transforms.schemas import REJECTS as REJECTS_SCHEMA
from transforms.scoring.rows import reject_row
from transforms.synthesis.clips import ClipOptions, MakeClip
from transforms.synthesis.degradation_kinds import DEGRADATIONS, DegradationError, parse_degradations
from transforms.synthesis.degradations import Reverb
from transforms.synthesis.materials import NOISE, RIR, SPEECH, Catalog, Material, MeasureMaterial, materials
from transforms.synthesis.pesq_labels import pesq_installed
from transforms.synthesis.rooms import simulation_installed
from transforms.synthesis.speech_variation import VOICE_SPEED

# Row groups of some 25 MB: what `train` reads, shuffles and forgets at a time.
CLIPS_PER_ROW_GROUP = 256
RATIOS = (
    "clean_ratio",
    "partial_ratio",
    "variation_ratio",
    "speed_ratio",
    "expander_ratio",
    "noise_variation_ratio",
    "fault_ratio",
)


@dataclasses.dataclass
class SynthesizeConfig:
    """A synthesis job.

    Attributes:
        materials: speech, noise and rooms to draw from, not yet measured.
        min_dynamic_range_db: speech under this is no reference.
        clips: how many to make.
        options: what they are made of.
        ledger: where they go.
        run_id: of this run.
    """

    materials: list[Material]
    min_dynamic_range_db: float
    clips: int
    options: ClipOptions
    ledger: Ledger
    run_id: str


def build(root: beam.Pipeline, config: SynthesizeConfig) -> None:
    """Measures the material, then makes every clip from its number and what serves."""
    measured = (
        root
        | "Material" >> beam.Create(config.materials)
        | "SpreadMaterial" >> beam.Reshuffle()
        | "Measure" >> beam.ParDo(MeasureMaterial(config.min_dynamic_range_db)).with_outputs(REJECTS, main="measured")
    )
    catalog = measured.measured | "Gather" >> beam.combiners.ToList() | "Catalog" >> beam.Map(Catalog)
    made = (
        root
        | "Numbers" >> beam.Create(range(config.clips))
        | "SpreadNumbers" >> beam.Reshuffle()
        | "MakeClip"
        >> beam.ParDo(MakeClip(config.options), beam.pvalue.AsSingleton(catalog)).with_outputs(REJECTS, main="clips")
    )
    clips = made.clips | "WriteClips" >> WriteTable(
        config.ledger.prefix("clips", config.run_id), CLIPS, rows=CLIPS_PER_ROW_GROUP
    )
    rejects = (
        (measured[REJECTS], made[REJECTS])
        | "AllRejects" >> beam.Flatten()
        | "RejectRow" >> beam.Map(reject_row)
        | "WriteRejects" >> WriteTable(config.ledger.prefix("rejects", config.run_id), REJECTS_SCHEMA)
    )
    (
        (clips, rejects)
        | "Written" >> beam.Flatten()
        | "Receipt" >> GatherReceipt()
        | "LeaveReceipt" >> beam.Map(Receipt.write, config.ledger.beside_record(config.run_id, ".receipt"))
    )


@command("synthesize")
def run(argv: Sequence[str]) -> int:
    """Parses the command line and makes the set."""
    started = time.monotonic()
    options, beam_arguments = parse(_parser(), argv)
    runner, pipeline_options = beam_options(beam_arguments)
    config = _config(options)
    config.ledger.remove_debris()
    print(f"making {config.clips} clips from {len(config.materials)} recordings ...", file=sys.stderr)
    with beam.Pipeline(runner=runner, options=pipeline_options) as root:
        build(root, config)
    record = _commit(config, options, time.monotonic() - started)
    print(
        f"made {record['counts']['clips']} clips, rejected {record['counts']['rejects']} inputs or clips, "
        f"in {record['timings']['total_s']:.0f} s; {_say_references(record['references'])}; "
        f"the set is in {config.ledger.root}"
    )
    if not record["counts"]["clips"]:
        print(f"audiosieve synthesize: no clip could be made; {config.ledger.root}/rejects says why", file=sys.stderr)
        return 1
    return 0


def _commit(config: SynthesizeConfig, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    ledger = config.ledger
    receipt = Receipt.read(ledger.beside_record(config.run_id, ".receipt"))
    files = [ledger.name_of(path) for path in receipt.paths]
    files += ledger.write_missing(config.run_id, files, SYNTHESIS_TABLES)
    counts = {table: count_rows(ledger, table, files) for table in ledger.tables}
    lost = config.clips - counts["clips"]
    if not 0 <= lost <= counts["rejects"]:
        raise RuntimeError(
            f"{config.clips} clips were asked for, {counts} were written: clips were lost; nothing is committed"
        )
    references, rejected = _count_rejects(config, files)
    record = {
        "job": "synthesize",
        "options": vars(options),
        "counts": {"asked": config.clips, **counts},
        "references": references,
        "clips_rejected": rejected,
        "timings": {"total_s": round(seconds, 3)},
        "versions": {"audiosieve": version("audiosieve"), "apache-beam": beam.__version__},
    }
    return ledger.commit(config.run_id, record, files)


def _count_rejects(config: SynthesizeConfig, files: Sequence[str]) -> tuple[dict[str, Any], dict[str, int]]:
    """How many references there were and were refused, by reason; and the clips that were lost, by reason."""
    speech, others = (
        {
            (printable(item.ref.uri), item.ref.utterance_id)
            for item in config.materials
            if (item.kind == SPEECH) == wanted
        }
        for wanted in (True, False)
    )
    refused, lost = Counter[str](), Counter[str]()
    names = [name for name in files if name.startswith("rejects/")]
    for batch in config.ledger.rows("rejects", ["uri", "utterance_id", "reason"], names):
        for row in batch.to_pylist():
            key = row["uri"], row["utterance_id"]
            if key in speech:
                refused[row["reason"]] += 1
            elif key not in others:
                lost[row["reason"]] += 1
    return {"listed": len(speech), "refused": dict(refused.most_common())}, dict(lost.most_common())


def _say_references(references: dict[str, Any]) -> str:
    refused = references["refused"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in refused.items())
    return f"refused {sum(refused.values())} of {references['listed']} references" + (
        f" ({reasons})" if reasons else ""
    )


def _config(options: argparse.Namespace) -> SynthesizeConfig:
    """Checks the options against each other and the world.

    Raises:
        UsageError, SourceError, OutputError: something cannot be; the message says what.
    """
    labels = _labels(options.labels)
    if PSEUDO not in labels and not pesq_installed():
        raise UsageError(
            "PESQ labels need the extra `train` (pip install 'audiosieve[train]'), which needs a C compiler"
        )
    if options.clips < 1:
        raise UsageError(f"--clips is {options.clips}; it must be at least 1")
    for name in RATIOS:
        if not 0 <= getattr(options, name) <= 1:
            raise UsageError(f"--{name} is {getattr(options, name)}; it must be within 0 and 1")
    if options.holdout is not None and not 0 <= options.holdout < 1:
        raise UsageError(f"--holdout is {options.holdout}; it must be at least 0 and under 1")
    peak_dbfs = _range("--peak_dbfs", options.peak_dbfs)
    if peak_dbfs[1] > 0:
        raise UsageError(f"--peak_dbfs is {options.peak_dbfs}; a peak over 0 dBFS cannot be stored")
    duration_s = _range("--duration", options.duration)
    if duration_s[0] < 0.25:
        raise UsageError(f"--duration is {options.duration}; PESQ needs clips of at least 0.25 s")
    partial_s = _range("--partial_s", options.partial_s)
    if partial_s[0] < 0.02:
        raise UsageError(
            f"--partial_s is {options.partial_s}; a part of at least 0.02 s is needed for noise to have a level"
        )
    if options.max_disagreement < 0:
        raise UsageError(f"--max_disagreement is {options.max_disagreement}; it must be at least 0")
    faults = _faults(options.faults, options.max_faults)
    simulates = options.variation_ratio > 0 or (options.fault_ratio > 0 and Reverb.KIND in dict(faults))
    if simulates and not simulation_installed():
        raise UsageError("rooms are simulated by the extra `train` (pip install 'audiosieve[train]')")
    clip_options = ClipOptions(
        seed=options.seed,
        snr_db=tuple(_range("--snr", part) for part in options.snr.split(",")),
        clean_ratio=options.clean_ratio,
        duration_s=duration_s,
        peak_dbfs=peak_dbfs,
        labels=labels,
        noises=_count_range("--noises", options.noises),
        partial_ratio=options.partial_ratio,
        partial_s=partial_s,
        variation_ratio=options.variation_ratio,
        speed_ratio=options.speed_ratio,
        expander_ratio=options.expander_ratio,
        noise_variation_ratio=options.noise_variation_ratio,
        fault_ratio=options.fault_ratio,
        max_faults=options.max_faults,
        faults=faults,
        keep_reference=options.keep_reference,
        max_disagreement=options.max_disagreement,
    )
    items = [
        item
        for kind, source in ((SPEECH, options.speech), (NOISE, options.noise), (RIR, options.rir))
        if source
        for item in materials(select(list_corpus(source), kind, options.where), kind, options.holdout)
    ]
    noisy = {item.split for item in items if item.kind == NOISE}
    lacking = {item.split for item in items if item.kind == SPEECH} - noisy
    if lacking and options.clean_ratio < 1:
        raise UsageError(
            f"there is speech but no noise for the split {sorted(lacking)[0]!r}: noise must come in two groups at least "
            "(folders, or files where there are none, or the manifest's column group)"
        )
    ledger = Ledger(absolute(options.output), tuple(SYNTHESIS_TABLES))
    ledger.check_writable()
    if ledger.records("synthesize"):
        raise OutputError(f"{options.output}: a set is there already; choose another --output or delete it")
    return SynthesizeConfig(
        items, options.min_dynamic_range_db, options.clips, clip_options, ledger, Ledger.new_run_id()
    )


def select(refs: list[AudioRef], kind: str, conditions: Sequence[str]) -> list[AudioRef]:
    """The recordings of a kind that meet all conditions.

    Args:
        refs: what was listed.
        kind: "speech", "noise" or "rir"; matters where the manifest has a column `kind`.
        conditions: each COLUMN=VALUE or COLUMN!=VALUE.

    Raises:
        UsageError: a condition cannot be read, names a column that is not there, or nothing is left.
    """
    chosen = [ref for ref in refs if ref.columns.get("kind", kind) == kind]
    if archive := next((ref for ref in chosen if ref.archive), None):
        raise UsageError(
            f"{archive.uri} is an archive: clips are drawn at random, and it could only be read as a stream; unpack it"
        )
    for condition in conditions:
        parts = re.fullmatch(r"(\w+)(!?=)(.*)", condition)
        if not parts:
            raise UsageError(f"--where {condition!r} is not COLUMN=VALUE or COLUMN!=VALUE")
        column, operator, value = parts.groups()
        if not any(column in ref.columns for ref in chosen):
            raise UsageError(f"--where {condition!r}: the {kind} has no column {column!r}")
        chosen = [ref for ref in chosen if (ref.columns.get(column) == value) == (operator == "=")]
    if not chosen:
        raise UsageError(
            f"no {kind} is left" + (f" after --where {' --where '.join(conditions)}" if conditions else "")
        )
    return chosen


def _labels(text: str) -> tuple[Any, ...]:
    unknown = [name for name in text.split(",") if name not in LABEL_SCALES]
    if unknown:
        raise UsageError(f"--labels: there is no label {unknown[0]!r}; the labels are {', '.join(LABEL_SCALES)}")
    return tuple(LABEL_SCALES[name] for name in text.split(","))


def _faults(text: str, most: int) -> tuple[tuple[str, tuple[float, float]], ...]:
    if most < 1:
        raise UsageError(f"--max_faults is {most}; it must be at least 1")
    try:
        return parse_degradations(text)
    except DegradationError as error:
        raise UsageError(f"--faults: {error}") from None


def _count_range(option: str, text: str) -> tuple[int, int]:
    """Reads "1" or "1:2"."""
    low, high = _range(option, text)
    if low < 1 or not (low.is_integer() and high.is_integer()):
        raise UsageError(f"{option}: {text!r} must be whole numbers of at least 1")
    return int(low), int(high)


def _range(option: str, text: str) -> tuple[float, float]:
    """Reads "5" or "-10:30"."""
    try:
        low, _, high = text.partition(":")
        values = float(low), float(high or low)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is neither a number nor LOW:HIGH") from None
    if values[0] > values[1]:
        raise UsageError(f"{option}: {text!r} has its ends the wrong way round")
    return values


def _parser() -> Parser:
    parser = Parser("synthesize", "Make a labelled training set: clean speech mixed with noise at known SNRs.")
    add = parser.add_argument
    add("--speech", required=True, help="clean speech: directory, glob or manifest CSV (path, speaker, split, ...)")
    add("--noise", required=True, help="noise: directory, glob or manifest CSV (path, group, split, ...)")
    add("--output", required=True, help="folder for the set")
    add("--clips", type=int, required=True, help="how many clips to make")
    add("--snr", default="-10:40", help="SNRs in dB: a list of numbers and LOW:HIGH ranges, one drawn for each clip")
    add("--clean_ratio", type=float, default=0.1, help="share of clips without noise")
    add("--noises", default="1:2", help="how many noises are in a noisy clip; the SNR is that of their sum")
    add("--partial_ratio", type=float, default=0.15, help="share of the noisy clips whose noise covers only a part")
    add("--partial_s", default="0.5:3", help="length of that part in s; the noise's power is taken over it alone")
    add("--fault_ratio", type=float, default=0.0, help="share of clips with faults, on top of noise or without it")
    add("--max_faults", type=int, default=2, help="most faults in a clip; 1 to as many are drawn")
    add(
        "--faults",
        default="all",
        help="which faults, comma-separated, and how strong; " + "; ".join(map(_say_fault, DEGRADATIONS)),
    )
    add("--rir", help="impulse responses of rooms, used for half of the `reverb` (the rest is simulated): directory, glob "
        "or manifest CSV")  # fmt: skip
    add("--variation_ratio", type=float, default=0.0, help="share of clips whose clean speech is first varied as recordings "
        "differ (equalizer, microphone, small room, digital silence, good coding), in the reference too")  # fmt: skip
    add("--speed_ratio", type=float, default=0.0, help="share of clips whose speech is played slower or faster, as by another "
        f"speaker (1/{VOICE_SPEED} to {VOICE_SPEED} times, pitch and all), in the reference too")  # fmt: skip
    add("--expander_ratio", type=float, default=0.0, help="share of clips whose speech is made softer where it is soft, from "
        "gently to a gate that closes within words, in the reference too")  # fmt: skip
    add("--noise_variation_ratio", type=float, default=0.0, help="share of noises that are varied: played at another speed, "
        "backwards, through an equalizer, in pulses, ringing")  # fmt: skip
    add("--duration", default="3:10", help="length of the clips in s; shorter speech is taken whole")
    add("--peak_dbfs", default="-18:0", help="peak level of the clips in dBFS")
    add("--labels", default="pesq-wb", help=f"labels to give, comma-separated: {', '.join(LABEL_SCALES)}")
    add("--max_disagreement", type=float, default=0.3, help="a clip is rejected where PESQ and the score of its frames "
        "are farther apart")  # fmt: skip
    add("--keep_reference", action="store_true", help="store the clean reference of each clip too")
    add("--seed", type=int, default=0, help="a set is the same for the same seed, material and options")
    add("--holdout", type=float, help="share of speakers and noise groups to keep apart as split `val`; by default the "
        "manifest's own split, or a tenth where it has none")  # fmt: skip
    add("--where", action="append", default=[], metavar="COLUMN=VALUE",
        help="use only what a manifest's column says (or COLUMN!=VALUE); may be repeated")  # fmt: skip
    add(
        "--min_dynamic_range_db", type=float, default=38.0, help="speech under this dynamic range is no clean reference"
    )
    return parser


def _say_fault(name: str) -> str:
    kind = DEGRADATIONS[name]
    return f"{name}={kind.default[0]:g}:{kind.default[1]:g} ({kind.unit.replace('%', '%%')})" if kind.default else name
