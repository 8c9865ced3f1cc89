"""`audiosieve score`: scores a corpus and writes the quality of each utterance and frame to Parquet."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

from model.bundle import DEFAULT, Bundle
from pipelines.common.argument_types import channels, number, positive_int
from pipelines.common.arguments import MODEL_HELP, Parser, add_batch_options, parse_with_beam
from pipelines.common.errors import UsageError, command
from pipelines.common.output_lock import output_lock
from pipelines.common.runners import beam_options, is_local, requested_processes, usable_cores
from pipelines.scoring.dataflow_jobs import abandon_ended
from pipelines.scoring.dry_run import preview
from pipelines.scoring.options import LAUNCHER, WORKERS, ScoreOptions
from pipelines.scoring.runs import LocalRun, RemoteRun
from transforms import schemas, telemetry
from transforms.corpus.sources import INPUT_KINDS, absolute, list_corpus
from transforms.elements import AUTO, EACH, FIRST, MIX, AudioRef
from transforms.errors import OutputError
from transforms.output.ledger import Job, Ledger
from transforms.runs.chunking import WAVE_HOURS
from transforms.runs.incremental import outstanding
from transforms.runs.worker_listing import is_listable
from transforms.scoring.bundles import find_bundle
from transforms.storage.files import would_match

LOG_LEVELS = ("debug", "info", "warning", "error")


@command("score")
def run(argv: Sequence[str]) -> int:
    """Scores the recordings that are new or changed, and prints a summary.

    The exit status is `NOTHING_LEFT` if all inputs are rejected.
    """
    options, beam_arguments = parse(argv)
    telemetry.show_log(options.log_level)
    bundle = find_bundle(options.model)
    local = is_local(beam_arguments)
    processes = requested_processes(beam_arguments)
    remote = None if local else beam_options(beam_arguments)
    lists_here = options.listing == LAUNCHER
    if not lists_here:
        _check_worker_listing(options, local)
    refs = list_corpus(options.input, options.carry) if lists_here else []
    if lists_here:
        _check_carry(options.carry, refs)
    if options.dry_run:
        cores = (processes or usable_cores()) if local else None
        return preview(refs, bundle, options.threads, cores, options.channels)
    if not options.output:
        raise UsageError("--output is missing; only --dry_run works without it")
    output = absolute(options.output)
    _check_apart(options, output, refs)
    ledger = Ledger(output, tuple(schemas.SCORE_TABLES))
    ledger.check_writable()
    with output_lock(output):
        if options.overwrite:
            ledger.clear(Job.SCORE)
        _check_same_kind(ledger, bundle, options)
        _check_pending(ledger, options, PipelineOptions(list(beam_arguments)))
        ledger.remove_debris()
        if remote and not lists_here:
            return RemoteRun(options, beam_arguments, bundle, ledger, *remote).list_and_score()
        unscored = outstanding(refs, ledger)
        if unscored.gone:
            print(
                f"kept {unscored.gone} rows of recordings that are no longer in {options.input}",
                file=sys.stderr,
            )
        if remote and unscored.refs:
            return RemoteRun(options, beam_arguments, bundle, ledger, *remote).score(len(refs), unscored)
        job = LocalRun(options, beam_arguments, bundle, ledger, len(refs), unscored)
        status = job.run(processes) if unscored.refs else 0
        print(job.summary())
        return status or job.status()


def _check_worker_listing(options: ScoreOptions, local: bool) -> None:
    """Checks that the run has workers and that they can list the corpus."""
    if local:
        raise UsageError(
            f"--listing {WORKERS} needs another runner (--runner); a local run has no workers that could list"
        )
    if options.dry_run:
        raise UsageError(f"--dry_run lists the corpus in this process; leave out --listing {WORKERS}")
    if not is_listable(absolute(options.input)):
        raise UsageError(f"--listing {WORKERS} needs a folder; {options.input} is not a folder")


def _check_carry(columns: Sequence[str], refs: Sequence[AudioRef]) -> None:
    """Rejects columns that no row of the corpus has (probably a typo). Columns in archives are not known yet."""
    if any(ref.archive for ref in refs):
        return
    for column in columns:
        if not any(column in ref.columns for ref in refs):
            known = ", ".join(sorted({name for ref in refs[:100] for name in ref.columns})) or "none"
            raise UsageError(f"--carry: the corpus has no column {column!r}; its columns: {known}")


def _check_apart(options: ScoreOptions, output: str, refs: Sequence[AudioRef]) -> None:
    """Checks that the output is outside the input."""
    source = absolute(options.input)
    table = f"{output}/{next(iter(schemas.SCORE_TABLES))}/x.parquet"
    inside = Path(output).resolve().is_relative_to(Path(source).resolve()) or would_match(source, table)
    if inside or any(ref.uri.startswith(f"{output}/") for ref in refs):
        raise UsageError(
            f"--output {output} lies in --input, so the next run would list the tables; choose a folder outside it"
        )


def _check_same_kind(ledger: Ledger, bundle: Bundle, options: ScoreOptions) -> None:
    """Checks that earlier runs wrote the output with the same model, channels and carried columns."""
    advice = "choose another --output, or --overwrite this one"
    for record in ledger.runs(Job.SCORE):
        if record["model_id"] != bundle.model_id:
            raise OutputError(
                f"{ledger.root}: holds scores of {record['model_id']}, this run would add scores of {bundle.model_id}; {advice}"
            )
        for name in ("channels", "carry"):
            before, now = record["options"].get(name), getattr(options, name)
            if before is not None and list(before) != list(now):
                raise OutputError(
                    f"{ledger.root}: was written with --{name} {_as_option(before)}, this run has {_as_option(now)}; {advice}"
                )


def _as_option(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ",".join(value) or "''"


def _check_pending(ledger: Ledger, options: ScoreOptions, beam: PipelineOptions) -> None:
    """Checks that no uncommitted job on another runner may still write to the output.

    Abandons the run of `--forget`, and runs whose jobs on Dataflow have ended.
    """
    pending = ledger.pending()
    if options.forget:
        if options.forget not in pending:
            state = f"pending runs: {', '.join(pending)}" if pending else "no run is pending"
            raise OutputError(f"{ledger.root}: --forget {options.forget}: this run is not pending; {state}")
        ledger.abandon(options.forget)
        pending.remove(options.forget)
    for run_id, known in abandon_ended(ledger, pending, beam).items():
        raise OutputError(
            f"{ledger.root}: run {run_id}, a job on another runner, is not committed yet{f' ({known})' if known else ''}; "
            f"wait for it, or, if its job is gone, add --forget {run_id}"
        )


def parse(argv: Sequence[str]) -> tuple[ScoreOptions, tuple[str, ...]]:
    """Returns the options of the command and those for Beam."""
    return parse_with_beam(build_parser(), argv, ScoreOptions)


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "score",
        "Score the quality of each utterance and frame of a speech corpus. Beam's options, such as --direct_num_workers=2 "
        "or --runner, are accepted too.",
    )
    add = parser.add_argument
    add("--input", required=True, help=INPUT_KINDS)
    add(
        "--output",
        default="",
        help="folder for the tables, local or in a bucket; a second run with the same folder scores only new and changed "
        "recordings",
    )
    add("--model", default=DEFAULT, help=MODEL_HELP)
    add(
        "--channels",
        type=channels(each=True),
        default=AUTO,
        help=f"channels to score: {AUTO} (mean of all, or the best one where they differ), {MIX} (always the mean), {FIRST}, "
        f"{EACH} (one utterance for each channel, with #ch0, #ch1, ... added to its id), or the number of a channel from 0",
    )
    add(
        "--carry",
        type=_carried_columns,
        default="",
        metavar="COLUMN,...",
        help="columns of the corpus to copy into `utterances`",
    )
    add("--overwrite", action="store_true", help="remove the scores in --output first, and score all recordings")
    add(
        "--dry_run",
        action="store_true",
        help="describe the corpus, score a few recordings, estimate the time of a run, and write nothing",
    )
    add(
        "--wave_hours",
        type=number(over=0, infinite=True),
        default=WAVE_HOURS,
        help="hours of audio that a local run commits at a time",
    )
    add_batch_options(parser, "utterances")
    add(
        "--listing",
        choices=(LAUNCHER, WORKERS),
        default=LAUNCHER,
        help=f"process that lists the corpus; {WORKERS}: for folders of tens of millions of files on another runner",
    )
    add("--forget", metavar="RUN_ID", help="id of a run whose job on another runner is gone; its files are ignored")
    add(
        "--log_level",
        choices=LOG_LEVELS,
        default="error",
        help="level of the log on stderr, one JSON object per line; `warning` includes the uri of each reject",
    )
    add("--threads", type=positive_int, default=1, help="TensorFlow threads in each process")
    return parser


def _carried_columns(text: str) -> tuple[str, ...]:
    """Parses names of columns, separated by commas."""
    columns = tuple(name for name in text.split(",") if name)
    try:
        schemas.with_carried(schemas.KEPT, columns)
    except ValueError as error:
        raise ArgumentTypeError(f"is {text!r}; {error}") from error
    return columns
