"""`audiosieve score`: scores a corpus and writes the quality of each utterance and frame to Parquet."""

from __future__ import annotations

import dataclasses
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

from model.bundle import DEFAULT, Bundle, bundled_names, open_bundle
from pipelines.common.argument_types import channels, number, positive_int
from pipelines.common.arguments import MODEL_HELP, Dependent, Parser, add_batch_options, check_effects, parse_with_beam
from pipelines.common.errors import UsageError, command
from pipelines.common.output_lock import output_lock
from pipelines.common.runners import beam_options, is_local, requested_processes, usable_cores
from pipelines.common.wording import counted
from pipelines.scoring.dataflow_jobs import abandon_ended
from pipelines.scoring.dry_run import faulty_rows, preview
from pipelines.scoring.local_run import LocalRun
from pipelines.scoring.options import LAUNCHER, WORKERS, ScoreOptions
from pipelines.scoring.pruning import print_gone, remove_gone
from pipelines.scoring.runs import RemoteRun
from pipelines.scoring.single_recording import OF_CORPORA, check_single, print_score
from transforms import schemas, telemetry
from transforms.corpus.columns import ROLES
from transforms.corpus.listing import Corpus, ListingOptions
from transforms.corpus.sources import INPUT_KINDS, absolute, scan_corpus
from transforms.corpus.word_times import WORDS
from transforms.elements import AUTO, EACH, FIRST, MIX, AudioRef
from transforms.errors import OutputError
from transforms.output.ledger import Job, Ledger
from transforms.output.records import RUNS, run_ids
from transforms.runs.chunking import WAVE_HOURS
from transforms.runs.incremental import outstanding
from transforms.runs.worker_listing import is_listable
from transforms.scoring.bundles import find_bundle
from transforms.scoring.decode_watch import TIMEOUT_S
from transforms.storage.files import is_local as is_local_path
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
    prints_score = not (options.output or options.dry_run)
    if prints_score:
        check_single(options, beam_arguments)
    check_effects(
        build_parser(),
        argv,
        options,
        Dependent(("overwrite", "prune", "forget"), bool(options.output), "--output"),
        Dependent(OF_CORPORA, not prints_score, "--output"),
    )
    refs: list[AudioRef] = []
    if lists_here:
        options, refs = _list(options)
    if options.dry_run:
        if options.prune:
            print_gone(Ledger(absolute(options.output), tuple(schemas.SCORE_TABLES)), options, refs)
        cores = (processes or usable_cores()) if local else None
        return preview(refs, bundle, options.threads, cores, options.channels)
    if prints_score:
        return print_score(options, refs, bundle)
    output = absolute(options.output)
    _check_apart(options, output, refs)
    ledger = Ledger(output, tuple(schemas.SCORE_TABLES))
    ledger.check_writable()
    with output_lock(output) as lock:
        if options.overwrite:
            ledger.clear(Job.SCORE)
        _check_same_kind(ledger, bundle, options)
        _check_pending(ledger, options, PipelineOptions(list(beam_arguments)))
        ledger.remove_debris()
        if remote and not lists_here:
            return RemoteRun(options, beam_arguments, bundle, ledger, *remote, lock.check).list_and_score()
        known = run_ids(output)
        unscored = outstanding(refs, ledger)
        _print_faulty(unscored.refs)
        if options.prune:
            known |= remove_gone(ledger, options, refs, unscored, known, lock)
        elif unscored.gone:
            print(
                f"kept {counted(len(unscored.gone), 'row')} of recordings that are no longer in {options.input}; --prune "
                "removes such rows",
                file=sys.stderr,
            )
        if remote and unscored.refs:
            return RemoteRun(options, beam_arguments, bundle, ledger, *remote, lock.check).score(len(refs), unscored)
        job = LocalRun(options, beam_arguments, bundle, ledger, len(refs), unscored, known, lock)
        status = job.run(processes) if unscored.refs else 0
        print(job.summary())
        return status or job.status()


def _list(options: ScoreOptions) -> tuple[ScoreOptions, list[AudioRef]]:
    """Lists the corpus; returns the options with the columns that the corpus carries by itself, and the utterances.

    Raises:
        SourceError: the corpus cannot be listed.
        UsageError: an option does not fit the corpus.
    """
    root = options.audio_root
    if root is not None and is_local_path(root) and not Path(absolute(root)).is_dir():
        raise UsageError(f"--audio_root {root} is not a directory")
    listing = ListingOptions(
        carry=frozenset(options.carry),
        word_times=WORDS in options.carry,
        audio_root=None if root is None else absolute(root),
        columns=options.columns,
        is_strict=options.strict,
    )
    corpus = scan_corpus(options.input, listing)
    _check_carry(options.carry, corpus)
    for note in corpus.notes:
        print(f"audiosieve score: {note}", file=sys.stderr)
    carried = (*options.carry, *(name for name in corpus.carried if name not in options.carry))
    # `filter` reads the manifest again, perhaps in another current directory.
    return dataclasses.replace(options, carry=carried, audio_root=listing.audio_root), corpus.refs


def _print_faulty(refs: Sequence[AudioRef]) -> None:
    """Prints how many rows of the corpus become rejects, with the first of them."""
    if text := faulty_rows(refs):
        print(f"{text}; they become rejects (with --strict, the run does not start)", file=sys.stderr)


def _check_worker_listing(options: ScoreOptions, local: bool) -> None:
    """Checks that the run has workers and that they can list the corpus."""
    if local:
        raise UsageError(
            f"--listing {WORKERS} needs another runner (--runner); a local run has no workers that could list"
        )
    for name, given in (("dry_run", options.dry_run), ("prune", options.prune)):
        if given:
            raise UsageError(f"--{name} lists the corpus in this process; leave out --listing {WORKERS}")
    if not is_listable(absolute(options.input)):
        raise UsageError(
            f"--listing {WORKERS} needs a folder of recordings; {options.input} is not a folder, or has tables that list it"
        )
    for name, value in (("audio_root", options.audio_root), ("columns", options.columns)):
        if value:
            raise UsageError(f"--{name} applies to manifests; leave it out with --listing {WORKERS}")


def _check_carry(columns: Sequence[str], corpus: Corpus) -> None:
    """Rejects columns that no row of the corpus has (probably a typo). Columns in archives are not known yet."""
    if not columns or any(ref.archive for ref in corpus.refs) or all(ref.fault for ref in corpus.refs):
        return
    for column in columns:
        if not any(column in ref.columns for ref in corpus.refs):
            known = ", ".join(sorted(corpus.columns)) or "none"
            raise UsageError(f"--carry: the corpus has no column {column!r}; its columns: {known}")


def _check_apart(options: ScoreOptions, output: str, refs: Sequence[AudioRef]) -> None:
    """Checks that the output is outside the input."""
    source = absolute(options.input)
    table = f"{output}/{next(iter(schemas.SCORE_TABLES))}/x.parquet"
    inside = Path(output).resolve().is_relative_to(Path(source).resolve()) or would_match(source, table)
    if inside or any(ref.uri.startswith(f"{output}/") for ref in refs if ref.fault is None):
        raise UsageError(
            f"--output {output} lies in --input, so the next run would list the tables; choose a folder outside it"
        )


def _check_same_kind(ledger: Ledger, bundle: Bundle, options: ScoreOptions) -> None:
    """Checks that earlier runs wrote the output with the same model, channels and carried columns."""
    advice = "choose another --output, or --overwrite this one"
    for record in ledger.runs(Job.SCORE):
        if record["model_id"] != bundle.model_id:
            earlier = [name for name in bundled_names() if open_bundle(name).model_id == record["model_id"]]
            go_on = f"go on with --model {earlier[0]}, " if earlier else ""
            raise OutputError(
                f"{ledger.root}: holds scores of {record['model_id']}, this run would add scores of {bundle.model_id}; "
                f"{go_on}{advice}"
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
    """Returns the options of the command and those for Beam.

    Raises:
        UsageError: an option is wrong, or the output by position looks like another recording.
    """
    options, beam_arguments = parse_with_beam(build_parser(), argv, ScoreOptions)
    if not any(re.match("-o|--output(=|$)", word) for word in argv):
        _check_is_no_input(options)
    return options, beam_arguments


def _check_is_no_input(options: ScoreOptions) -> None:
    """Checks an output by position: a shell replaces `corpus/*` by two names if the folder has two files or folders."""
    output = Path(options.output)
    if not options.output or not is_local_path(options.output) or not output.exists():
        return
    is_own = output.is_dir() and ((output / RUNS).is_dir() or not any(output.iterdir()))
    if not is_own:
        raise UsageError(
            f"the second argument, {output}, is the folder for the tables, but exists and is no output of `audiosieve score`; "
            f"name a new folder. If the shell replaced a pattern by the names of files, quote it"
        )


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "score",
        "Score the quality of each utterance and frame of a speech corpus, or of a single recording. Beam's options, such as "
        "--direct_num_workers=2 or --runner, are accepted too.",
        by_position=("input", "output"),
    )
    add, further = parser.add_argument, parser.further.add_argument
    add("--input", required=True, metavar="CORPUS", help=INPUT_KINDS)
    add(
        "-o",
        "--output",
        default="",
        metavar="OUT",
        help="folder for the tables, local or in a bucket; a second run with the same folder scores only new and changed "
        "recordings; without it, the score of a single recording is printed",
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
    further(
        "--audio_root",
        metavar="DIR",
        help="folder that relative paths of a manifest refer to; by default the folder of the manifest",
    )
    further(
        "--columns",
        type=_column_roles,
        default="",
        metavar="ROLE=COLUMN,...",
        help=f"columns of a manifest by role: {', '.join(ROLES)}; by default, usual names are recognised",
    )
    further(
        "--strict",
        action="store_true",
        help="do not start if a row of a manifest is faulty; by default such a row becomes a reject",
    )
    add("--overwrite", action="store_true", help="remove the scores in --output first, and score all recordings")
    add(
        "--prune",
        action="store_true",
        help="remove the rows of recordings that are no longer in the corpus; by default they are kept",
    )
    add(
        "--dry_run",
        action="store_true",
        help="describe the corpus, score a few recordings, estimate the time of a run, and write nothing",
    )
    further(
        "--wave_hours",
        type=number(over=0, infinite=True),
        default=WAVE_HOURS,
        help="hours of audio that a local run commits at a time",
    )
    add_batch_options(parser, "utterances")
    further(
        "--listing",
        choices=(LAUNCHER, WORKERS),
        default=LAUNCHER,
        help=f"process that lists the corpus; {WORKERS}: for folders of tens of millions of files on another runner",
    )
    further("--forget", metavar="RUN_ID", help="id of a run whose job on another runner is gone; its files are ignored")
    further(
        "--log_level",
        choices=LOG_LEVELS,
        default="error",
        help="level of the log on stderr, one JSON object per line; `warning` includes the uri of each reject",
    )
    further(
        "--recording_timeout_s",
        type=number(over=0, infinite=True),
        default=TIMEOUT_S,
        help="seconds in which a local run must decode a recording; it adds 1 s for each 100 kB of the file and each 10 s of "
        "spans, and 15 minutes if the file is not on a disk; a recording that takes longer is rejected",
    )
    further("--threads", type=positive_int, default=1, help="TensorFlow threads in each process")
    return parser


def _column_roles(text: str) -> dict[str, str]:
    """Parses roles of columns, as `path=clip,start=begin_ms`."""
    roles = {}
    for part in filter(None, text.split(",")):
        role, equals, column = part.partition("=")
        if role not in ROLES or not equals:
            raise ArgumentTypeError(f"is {text!r}; must be ROLE=COLUMN, with one of the roles {', '.join(ROLES)}")
        if role in roles:
            raise ArgumentTypeError(f"is {text!r}; the role {role} occurs twice")
        roles[role] = column
    if roles.get("path") == "":
        raise ArgumentTypeError(f"is {text!r}; the path must have a column")
    return roles


def _carried_columns(text: str) -> tuple[str, ...]:
    """Parses names of columns, separated by commas."""
    columns = tuple(name for name in text.split(",") if name)
    try:
        schemas.with_carried(schemas.KEPT, columns)
    except ValueError as error:
        raise ArgumentTypeError(f"is {text!r}; {error}") from error
    return columns
