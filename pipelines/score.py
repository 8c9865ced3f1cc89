"""`audiosieve score`: a corpus -> per-utterance and per-frame quality in Parquet."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.bundle import DEFAULT, Bundle, bundled_names
from pipelines.common.arguments import Parser, UsageError, beam_options, command, local_processes, parse
from pipelines.common.output_lock import output_lock
from pipelines.scoring.dry_run import preview
from pipelines.scoring.runs import LocalRun, RemoteRun
from transforms import schemas, telemetry
from transforms.corpus.sources import INPUT_KINDS, absolute, list_corpus
from transforms.elements import EACH, FIRST, MIX, AudioRef
from transforms.errors import OutputError
from transforms.output.ledger import Job, Ledger
from transforms.runs.chunking import WAVE_HOURS
from transforms.runs.incremental import outstanding
from transforms.runs.worker_listing import is_listable
from transforms.scoring.batching import BatchLimits
from transforms.scoring.bundles import find_bundle
from transforms.storage.files import would_match

# Who lists the corpus.
LAUNCHER, WORKERS = "launcher", "workers"
LOG_LEVELS = ("debug", "info", "warning", "error")


@command("score")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, scores what is new or changed, and says what was done."""
    options, beam_arguments = parse(_parser(), argv)
    telemetry.show_log(options.log_level)
    bundle = find_bundle(options.model)
    _check_options(options)
    processes = local_processes(beam_arguments)
    elsewhere = beam_options(beam_arguments) if processes is None else None
    listing = options.listing == WORKERS
    if listing:
        _check_listing(options, bool(elsewhere))
    refs = [] if listing else list_corpus(options.input)
    if not listing:
        _check_carry(options.carry, refs)
    if options.dry_run:
        return preview(refs, bundle, options.threads, processes, options.channels)
    if not options.output:
        raise UsageError("--output is missing; --dry_run does without")
    output = absolute(options.output)
    _check_apart(options, output, refs)
    ledger = Ledger(output, tuple(schemas.SCORE_TABLES))
    ledger.check_writable()
    with output_lock(output):
        if options.overwrite:
            ledger.clear(Job.SCORE)
        _refuse_another_kind(ledger, bundle, options)
        _refuse_pending(ledger, options)
        ledger.remove_debris()
        if elsewhere and listing:
            return RemoteRun(options, beam_arguments, bundle, ledger, *elsewhere).list_and_score()
        left = outstanding(refs, ledger)
        if left.gone:
            print(
                f"{left.gone} rows of earlier runs are of recordings that are not in {options.input} any more; they stay",
                file=sys.stderr,
            )
        if elsewhere and left.refs:
            return RemoteRun(options, beam_arguments, bundle, ledger, *elsewhere).score(len(refs), left)
        job = LocalRun(options, beam_arguments, bundle, ledger, len(refs), left)
        status = job.run(processes or None) if left.refs else 0
        print(job.summary())
    return status


def _check_apart(options: argparse.Namespace, output: str, refs: Sequence[AudioRef]) -> None:
    source = absolute(options.input)
    table = f"{output}/{next(iter(schemas.SCORE_TABLES))}/x.parquet"
    inside = Path(output).resolve().is_relative_to(Path(source).resolve()) or would_match(source, table)
    if inside or any(ref.uri.startswith(f"{output}/") for ref in refs):
        raise UsageError(f"--output {output} lies in --input: its tables would be taken for recordings")


def _check_listing(options: argparse.Namespace, elsewhere: bool) -> None:
    """What workers can list, and when they need not."""
    if not elsewhere:
        raise UsageError(f"--listing {WORKERS} is for other runners; on this machine it gains nothing")
    if options.dry_run:
        raise UsageError(f"--dry_run lists here: leave out --listing {WORKERS}")
    if not is_listable(absolute(options.input)):
        raise UsageError(
            f"--listing {WORKERS} is for a folder, and {options.input} is none: give the folder, or leave the option out"
        )


def _refuse_pending(ledger: Ledger, options: argparse.Namespace) -> None:
    """A job that is under way elsewhere has files here that no record names yet."""
    pending = ledger.pending()
    if options.forget:
        if options.forget not in pending:
            raise OutputError(f"{ledger.root}: --forget {options.forget}: " + (
                f"no such run is under way; there is {', '.join(pending)}" if pending else "no run is under way"))  # fmt: skip
        ledger.abandon(options.forget)
        pending.remove(options.forget)
    if pending:
        raise OutputError(
            f"{ledger.root}: run {pending[0]}, a job on another runner, is not committed yet; wait for it, or, if its job is "
            f"gone, add --forget {pending[0]}"
        )


def _refuse_another_kind(ledger: Ledger, bundle: Bundle, options: argparse.Namespace) -> None:
    """What stands in one output must be comparable: of one model, of the same channels, with the same columns."""
    for record in ledger.runs(Job.SCORE):
        if record["model_id"] != bundle.model_id:
            raise OutputError(
                f"{ledger.root}: holds scores of {record['model_id']}, and {bundle.model_id} is asked for; "
                "scores of two models do not mix, choose another --output, or --overwrite this one"
            )
        for name in ("channels", "carry"):
            before, now = record["options"].get(name), getattr(options, name)
            if before is not None and list(before) != list(now):
                raise OutputError(
                    f"{ledger.root}: was written with --{name} {_said(before)}, and {_said(now)} is asked for; choose "
                    "another --output, or --overwrite this one"
                )


def _said(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ",".join(value) or "nothing"


def _check_options(options: argparse.Namespace) -> None:
    for name in ("batch_size", "batch_frames", "threads"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    if not options.wave_hours > 0:
        raise UsageError(f"--wave_hours is {options.wave_hours:g}; it must be over 0")
    if options.channels not in (MIX, FIRST, EACH) and not options.channels.isdecimal():
        raise UsageError(f"--channels is {options.channels!r}; it must be {MIX}, {FIRST}, {EACH} or a number from 0")
    options.carry = tuple(name for name in options.carry.split(",") if name)
    try:
        schemas.with_carried(schemas.UTTERANCES, options.carry)
    except ValueError as error:
        raise UsageError(f"--carry: {error}") from error


def _check_carry(names: Sequence[str], refs: Sequence[AudioRef]) -> None:
    """A column that is nowhere in the corpus is a slip of the pen; what is in archives is not known yet."""
    if any(ref.archive for ref in refs):
        return
    for name in names:
        if not any(name in ref.columns for ref in refs):
            known = ", ".join(sorted({column for ref in refs[:100] for column in ref.columns})) or "none"
            raise UsageError(f"--carry: the corpus has no column {name!r}; it has {known}")


def _parser() -> Parser:
    parser = Parser("score", "Score a corpus. Beam's own options are taken too, as --direct_num_workers=2 or --runner.")
    add = parser.add_argument
    add("--input", required=True, help=INPUT_KINDS)
    add("--output", help="folder for the tables; run again with the same one, only what is new or changed is scored")
    add(
        "--model",
        default=DEFAULT,
        help=f"a bundled model ({', '.join(bundled_names())}) or a bundle's folder, also in a bucket",
    )
    add("--channels", default=MIX, help="what is heard of a recording: mix (the mean of its channels), first, each (every "
        "channel an utterance, its id with #ch0, #ch1, ...), or the number of one, from 0")  # fmt: skip
    add("--carry", default="", metavar="COLUMN,...", help="columns of the corpus that go into `utterances`")
    add("--overwrite", action="store_true", help="forget what is in --output and score all again")
    add("--dry_run", action="store_true", help="say what is there, score one recording, guess the time; write nothing")
    add(
        "--wave_hours",
        type=float,
        default=WAVE_HOURS,
        help="hours of audio that are committed at a time in a local run",
    )
    add("--batch_size", type=int, default=BatchLimits().batch_size, help="utterances in a batch at most")
    add("--batch_frames", type=int, default=BatchLimits().batch_frames, help="padded frames in a batch at most")
    add("--listing", choices=(LAUNCHER, WORKERS), default=LAUNCHER, help="who lists the corpus: the launcher, or, for folders "
        "of tens of millions of files on another runner, the workers")  # fmt: skip
    add("--forget", metavar="RUN_ID", help="a job on another runner that is gone: what it wrote does not count")
    add("--log_level", choices=LOG_LEVELS, default="error", help="of the log on stderr, a JSON object a line; `warning` logs "
        "rejects with their uris")  # fmt: skip
    add("--threads", type=int, default=1, help="threads of TensorFlow in each process")
    return parser
