"""`audiosieve score`: a corpus -> per-utterance and per-frame quality in Parquet."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner

from model.bundle import DEFAULT, Bundle, bundled_names, open_bundle
from pipelines.alone import alone
from pipelines.options import Parser, UsageError, beam_options, command, local_processes, parse, usable_cores
from pipelines.preview import preview
from pipelines.waves import Progress, ending_at_once, run_all
from transforms import schemas
from transforms.accounts import Account, settle
from transforms.batching import BatchByLength, BatchLimits
from transforms.featurize import Featurize
from transforms.files import would_match
from transforms.incremental import Outstanding, outstanding
from transforms.ledger import Ledger, OutputError
from transforms.records import EACH, FIRST, MIX, REJECTS, AudioRef, Recording
from transforms.score import ScorerHandler, SplitResults
from transforms.sinks import WriteTable
from transforms.sources import INPUT_KINDS, absolute, list_corpus
from transforms.tables import ANOMALY_ROWS, UTTERANCE_ROWS, ToRejectRow, ToRows, frames_table
from transforms.waves import WAVE_HOURS, Lengths, Wave, cut_waves

# What the system says where no more can be written.
_NO_ROOM = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
# So many hours of audio make up for the start of another process.
HOURS_FOR_PROCESSES = 2.0


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """A scoring job, or a wave of one.

    Attributes:
        chunks: of recordings to score, each for one worker at a time.
        bundle: the model.
        limits: of the batches.
        threads: of TensorFlow in each process.
        channels: of the recordings, which are heard.
        carry: columns of the corpus that go into `utterances`.
        ledger: where the tables go.
        run_id: of this run.
        counted_in: folder in which each process counts what it did; None where nobody looks.
    """

    chunks: tuple[tuple[Recording, ...], ...]
    bundle: Bundle
    limits: BatchLimits
    threads: int
    channels: str
    carry: tuple[str, ...]
    ledger: Ledger
    run_id: str
    counted_in: str | None = None


def build(root: beam.Pipeline, config: ScoreConfig) -> None:
    """Spread the chunks; then, without another shuffle: featurize, batch by length, score, write."""
    bundle = config.bundle
    featurized = (
        root
        | "Corpus" >> beam.Create(config.chunks)
        | "Spread" >> beam.Reshuffle()
        | "Featurize"
        >> beam.ParDo(Featurize(bundle.features, config.channels)).with_outputs(REJECTS, main="featurized")
    )
    results = (
        featurized.featurized
        | "BatchByLength" >> beam.ParDo(BatchByLength(config.limits))
        | "Score" >> RunInference(ScorerHandler(bundle.found_by, config.threads))
        | "SplitResults" >> beam.ParDo(SplitResults()).with_outputs(REJECTS, main="scored")
    )
    rows = results.scored | "ToRows" >> beam.ParDo(
        ToRows(bundle.model_id, bundle.label_scale.span, bundle.pooling, config.carry, config.counted_in)
    ).with_outputs(UTTERANCE_ROWS, ANOMALY_ROWS, main="frames")
    rejects = (
        (featurized[REJECTS], results[REJECTS])
        | "Rejects" >> beam.Flatten()
        | "RejectRow" >> beam.ParDo(ToRejectRow(config.counted_in))
    )

    rows[UTTERANCE_ROWS] | "WriteUtterances" >> _write("utterances", config, sort_by=("score", "utterance_id"))
    rows[ANOMALY_ROWS] | "WriteAnomalies" >> _write("anomalies", config)
    rejects | "WriteRejects" >> _write("rejects", config)
    rows.frames | "WriteFrames" >> _write("frames", config, to_table=frames_table, count_rows=_num_frames)


def _num_frames(scored: Any) -> int:
    return len(scored.frame_score)


def _write(table: str, config: ScoreConfig, **how: Any) -> WriteTable:
    metadata = {
        "audiosieve.run_id": config.run_id,
        "audiosieve.model_id": config.bundle.model_id,
        "audiosieve.label_scale": config.bundle.label_scale.name,
        "audiosieve.features": json.dumps(config.bundle.features.as_dict()),
    }
    schema = schemas.SCORE_TABLES[table]
    if table == "utterances":
        schema = schemas.with_carried(schema, config.carry)
    return WriteTable(config.ledger.prefix(table, config.run_id), schema.with_metadata(metadata), **how)


def score_wave(config: ScoreConfig) -> None:
    """Runs a wave to its end in this process; nothing of it is committed."""
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as root:
        build(root, config)


@command("score")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, scores what is new or changed, and says what was done."""
    options, beam_arguments = parse(_parser(), argv)
    bundle = open_bundle(options.model)
    _check_options(options)
    processes = local_processes(beam_arguments)
    elsewhere = beam_options(beam_arguments) if processes is None else None
    refs = list_corpus(options.input)
    _check_carry(options.carry, refs)
    if options.dry_run:
        return preview(refs, bundle, options.threads, processes, options.channels)
    if not options.output:
        raise UsageError("--output is missing; --dry_run does without")
    output = absolute(options.output)
    _check_apart(options, output, refs)
    ledger = Ledger(output, tuple(schemas.SCORE_TABLES))
    ledger.check_writable()
    with alone(output):
        if options.overwrite:
            ledger.clear("score")
        _refuse_another_kind(ledger, bundle, options)
        ledger.remove_debris()
        job = _Job(options, beam_arguments, bundle, ledger, len(refs), outstanding(refs, ledger))
        if job.left.gone:
            print(
                f"{job.left.gone} rows of earlier runs are of recordings that are not in {options.input} any more; they stay",
                file=sys.stderr,
            )
        status = 0
        if not job.left.refs:
            pass
        elif elsewhere:
            job.run_on_cluster(*elsewhere)
        else:
            status = job.run_here(processes or 0)
        print(job.summary())
    return status


class _Job:
    """A run: what is asked for, what is left to do, and what is committed so far."""

    def __init__(
        self,
        options: argparse.Namespace,
        beam_arguments: Sequence[str],
        bundle: Bundle,
        ledger: Ledger,
        listed: int,
        left: Outstanding,
    ) -> None:
        self.options, self.beam_arguments = options, list(beam_arguments)
        self.bundle, self.ledger, self.left = bundle, ledger, left
        self.listed = listed
        self.account = Account()
        self.waves = 0
        self._started = self._committed = time.monotonic()

    def run_here(self, processes: int) -> int:
        """Scores in waves on this machine, each committed before it counts; returns the exit status."""
        lengths = Lengths.sampled(self.left.refs)
        seconds = sum(map(lengths.seconds, self.left.refs))
        if not processes:
            processes = _processes_for(seconds)
        # As many waves as processes at least, or one of them would have nothing to do.
        hours = min(self.options.wave_hours, seconds / 3600 / processes * 1.01)
        waves = cut_waves(self.left.refs, lengths, hours)
        processes = min(processes, len(waves))
        print(
            f"scoring {len(self.left.refs):,} utterances, about {seconds / 3600:.2f} h, with {self.bundle.model_id} "
            f"in {processes} process{'' if processes == 1 else 'es'} and {len(waves)} wave{'' if len(waves) == 1 else 's'} ...",
            file=sys.stderr,
        )
        with (
            tempfile.TemporaryDirectory(prefix="audiosieve-") as counted_in,
            ending_at_once(lambda: f"audiosieve score: interrupted; {self._how_to_go_on()}", counted_in),
        ):
            progress = Progress(counted_in, len(self.left.refs), seconds)
            planned = {}

            def configs() -> Iterator[ScoreConfig]:
                for wave in waves:
                    config = self._config(wave.chunks, counted_in)
                    planned[config.run_id] = wave
                    yield config

            try:
                with progress.shown():
                    for config in run_all(configs(), score_wave, processes):
                        wave = planned.pop(config.run_id)
                        progress.committed(wave.seconds, self._commit(config, wave, len(waves)))
            except BrokenProcessPool:
                print(
                    "audiosieve score: a process was killed from outside, perhaps since memory ran out (try fewer with "
                    f"--direct_num_workers); {self._how_to_go_on()}",
                    file=sys.stderr,
                )
                return 1
            except (OSError, RuntimeError) as error:  # Beam makes the second of the first
                full = next((words for words in _NO_ROOM if words in str(error)), None)
                if full is None:
                    raise
                print(
                    f"audiosieve score: {full}: make room in --output and in {tempfile.gettempdir()} (TMPDIR names another "
                    f"place); {self._how_to_go_on()}",
                    file=sys.stderr,
                )
                return 1
        return 0

    def run_on_cluster(self, runner: PipelineRunner, pipeline_options: PipelineOptions) -> None:
        """Scores all that is left as one job of Beam's runner, committed at its end."""
        lengths = Lengths({})
        (wave,) = cut_waves(self.left.refs, lengths, float("inf"))
        config = self._config(wave.chunks, None)
        with beam.Pipeline(runner=runner, options=pipeline_options) as root:
            build(root, config)
        template = pipeline_options.view_as(GoogleCloudOptions).template_location
        if template:  # staged for another to start: nothing has run
            print(f"the job is staged as {template}")
            return
        self._commit(config, wave, 1)

    def _config(self, chunks: tuple[tuple[Recording, ...], ...], counted_in: str | None) -> ScoreConfig:
        options = self.options
        limits = BatchLimits(batch_size=options.batch_size, batch_frames=options.batch_frames)
        return ScoreConfig(
            chunks, self.bundle, limits, options.threads, options.channels, options.carry, self.ledger,
            self.ledger.new_run_id(), counted_in,
        )  # fmt: skip

    def _commit(self, config: ScoreConfig, wave: Wave, waves: int) -> float:
        """Checks what a wave wrote and makes it visible; returns the seconds of audio in it."""
        account = settle(self.ledger, config.run_id, wave.refs)
        stale = {name for ref in wave.refs for name in self.left.stale.get(ref.utterance_id, ())}
        replaced = self.ledger.rewrite_without(config.run_id, stale)
        self.waves += 1
        now = time.monotonic()
        self.ledger.commit(config.run_id, self._record(account, len(wave.refs), waves, now - self._committed), replaced)
        self._committed = now
        self.account += account
        return account.audio_s

    def _record(self, account: Account, inputs: int, waves: int, seconds: float) -> dict[str, Any]:
        packages = ("audiosieve", "apache-beam", "tensorflow", "numpy", "pyarrow", "soundfile", "soxr")
        return {
            "job": "score",
            "options": {**vars(self.options), "beam": self.beam_arguments},
            "model_id": self.bundle.model_id,
            "bundle_hash": self.bundle.hash,
            "label_scale": self.bundle.label_scale.name,
            "wave": {"number": self.waves, "of": waves, "inputs": inputs},
            "counts": {
                "listed": self.listed,
                "scored": account.scored,
                "rejected": account.rejected.total(),
                "skipped": self.listed - len(self.left.refs),
            },
            "rejected": dict(account.rejected),
            "audio_s": round(account.audio_s, 3),
            "timings": {"total_s": round(seconds, 3)},
            "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        }

    def _how_to_go_on(self) -> str:
        done = self.account.scored + self.account.rejected.total()
        return (
            f"{self.waves} waves with {done:,} utterances ({self.account.audio_s / 3600:.2f} h) are committed in "
            f"{self.options.output}; run the same command again to go on"
        )

    def summary(self) -> str:
        """What was done, in a line."""
        account, seconds = self.account, time.monotonic() - self._started
        text = f"{account.scored} scored, {account.rejected.total()} rejected"
        if account.rejected:
            text += f" ({', '.join(f'{count} {reason}' for reason, count in account.rejected.most_common())})"
        text += f", {self.listed - len(self.left.refs)} skipped as already done"
        if account.scored:
            text += (
                f"; {account.audio_s / 3600:.2f} h of audio in {seconds:.1f} s, "
                f"{account.audio_s / seconds:.0f} x real time"
            )
        return f"{text}; the tables are in {self.options.output}"


def _processes_for(seconds: float) -> int:
    """One for each core, where there is enough to do for them."""
    return usable_cores() if seconds > HOURS_FOR_PROCESSES * 3600 else 1


def _check_apart(options: argparse.Namespace, output: str, refs: Sequence[AudioRef]) -> None:
    source = absolute(options.input)
    table = f"{output}/{next(iter(schemas.SCORE_TABLES))}/x.parquet"
    inside = Path(output).resolve().is_relative_to(Path(source).resolve()) or would_match(source, table)
    if inside or any(ref.uri.startswith(f"{output}/") for ref in refs):
        raise UsageError(f"--output {output} lies in --input: its tables would be taken for recordings")


def _refuse_another_kind(ledger: Ledger, bundle: Bundle, options: argparse.Namespace) -> None:
    """What stands in one output must be comparable: of one model, of the same channels, with the same columns."""
    for record in ledger.records("score"):
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
    add("--model", default=DEFAULT, help=f"a bundled model ({', '.join(bundled_names())}) or the folder of a bundle")
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
    add("--threads", type=int, default=1, help="threads of TensorFlow in each process")
    return parser
