"""`audiosieve synthesize`: clean speech + noise -> a labelled training set in Parquet."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import apache_beam as beam

from model.labels import LABEL_SCALES, PSEUDO
from pipelines.options import Parser, UsageError, beam_options, command, parse
from transforms.label import pesq_installed
from transforms.ledger import Ledger, OutputError, count_rows
from transforms.records import REJECTS, AudioRef
from transforms.schemas import CLIPS, SYNTHESIS_TABLES
from transforms.schemas import REJECTS as REJECTS_SCHEMA
from transforms.sinks import WriteTable
from transforms.sources import absolute, list_corpus
from transforms.synthesis import Catalog, ClipOptions, MakeClip, Material, MeasureMaterial, materials
from transforms.tables import reject_row

# Row groups of some 25 MB: what `train` reads, shuffles and forgets at a time.
CLIPS_PER_ROW_GROUP = 256


@dataclasses.dataclass
class SynthesizeConfig:
    """A synthesis job.

    Attributes:
        materials: speech and noise to draw from, not yet measured.
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
    made.clips | "WriteClips" >> WriteTable(
        config.ledger.prefix("clips", config.run_id), CLIPS, rows=CLIPS_PER_ROW_GROUP
    )
    (
        (measured[REJECTS], made[REJECTS])
        | "AllRejects" >> beam.Flatten()
        | "RejectRow" >> beam.Map(reject_row)
        | "WriteRejects" >> WriteTable(config.ledger.prefix("rejects", config.run_id), REJECTS_SCHEMA)
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
        f"in {record['timings']['total_s']:.0f} s; the set is in {config.ledger.root}"
    )
    if not record["counts"]["clips"]:
        print(f"audiosieve synthesize: no clip could be made; {config.ledger.root}/rejects says why", file=sys.stderr)
        return 1
    return 0


def _commit(config: SynthesizeConfig, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    ledger = config.ledger
    files = ledger.written(config.run_id)
    counts = {table: count_rows(ledger, table, files) for table in ledger.tables}
    lost = config.clips - counts["clips"]
    if not 0 <= lost <= counts["rejects"]:
        raise RuntimeError(
            f"{config.clips} clips were asked for, {counts} were written: clips were lost; nothing is committed"
        )
    record = {
        "job": "synthesize",
        "options": vars(options),
        "counts": {"asked": config.clips, **counts},
        "timings": {"total_s": round(seconds, 3)},
        "versions": {"audiosieve": version("audiosieve"), "apache-beam": beam.__version__},
    }
    return ledger.commit(config.run_id, record)


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
    if not 0 <= options.clean_ratio <= 1:
        raise UsageError(f"--clean_ratio is {options.clean_ratio}; it must be within 0 and 1")
    if options.holdout is not None and not 0 <= options.holdout < 1:
        raise UsageError(f"--holdout is {options.holdout}; it must be at least 0 and under 1")
    peak_dbfs = _range("--peak_dbfs", options.peak_dbfs)
    if peak_dbfs[1] > 0:
        raise UsageError(f"--peak_dbfs is {options.peak_dbfs}; a peak over 0 dBFS cannot be stored")
    duration_s = _range("--duration", options.duration)
    if duration_s[0] < 0.25:
        raise UsageError(f"--duration is {options.duration}; PESQ needs clips of at least 0.25 s")
    clip_options = ClipOptions(
        seed=options.seed,
        snr_db=tuple(_range("--snr", part) for part in options.snr.split(",")),
        clean_ratio=options.clean_ratio,
        duration_s=duration_s,
        peak_dbfs=peak_dbfs,
        labels=labels,
    )
    items = [
        item
        for kind, source in (("speech", options.speech), ("noise", options.noise))
        for item in materials(select(list_corpus(source), kind, options.where), kind, options.holdout)
    ]
    noisy = {item.split for item in items if item.kind == "noise"}
    lacking = {item.split for item in items if item.kind == "speech"} - noisy
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
        kind: "speech" or "noise"; matters where the manifest has a column `kind`.
        conditions: each COLUMN=VALUE or COLUMN!=VALUE.

    Raises:
        UsageError: a condition cannot be read, names a column that is not there, or nothing is left.
    """
    chosen = [ref for ref in refs if ref.columns.get("kind", kind) == kind]
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
    add("--snr", default="-10:30", help="SNRs in dB: a list of numbers and LOW:HIGH ranges, one drawn for each clip")
    add("--clean_ratio", type=float, default=0.1, help="share of clips without noise")
    add("--duration", default="3:10", help="length of the clips in s; shorter speech is taken whole")
    add("--peak_dbfs", default="-18:-1", help="peak level of the clips in dBFS")
    add("--labels", default="pesq-wb", help=f"labels to give, comma-separated: {', '.join(LABEL_SCALES)}")
    add("--seed", type=int, default=0, help="a set is the same for the same seed, material and options")
    add("--holdout", type=float, help="share of speakers and noise groups to keep apart as split `val`; by default the "
        "manifest's own split, or a tenth where it has none")  # fmt: skip
    add("--where", action="append", default=[], metavar="COLUMN=VALUE",
        help="use only what a manifest's column says (or COLUMN!=VALUE); may be repeated")  # fmt: skip
    add(
        "--min_dynamic_range_db", type=float, default=38.0, help="speech under this dynamic range is no clean reference"
    )
    return parser
