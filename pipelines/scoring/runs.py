"""A run of `audiosieve score`: in waves on this machine, or as one job of another of Beam's runners."""

from __future__ import annotations

import dataclasses
import errno
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

from model.bundle import Bundle
from pipelines.common.runners import usable_cores
from pipelines.scoring.graph import ScoreConfig, build, score_wave
from pipelines.scoring.options import ScoreOptions
from pipelines.scoring.process_pool import Progress, ending_at_once, run_all
from transforms.output.ledger import Ledger
from transforms.output.receipts import Receipt
from transforms.output.reconcile import RunCounts, listed_batches
from transforms.runs.chunking import Lengths, Wave, cut_waves
from transforms.runs.commit import commit
from transforms.runs.incremental import Outstanding
from transforms.runs.plan import ReadPlan, write_plan
from transforms.runs.worker_listing import ListCorpus
from transforms.scoring.batching import BatchLimits
from transforms.scoring.bundles import bundle_reference, share_bundle
from transforms.storage.files import absolute
from transforms.telemetry import Work

# What the system says where no more can be written.
_NO_ROOM = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
# So many hours of audio make up for the start of another process.
HOURS_FOR_PROCESSES = 2.0
_FAILED = {PipelineState.FAILED, PipelineState.CANCELLED}
_PACKAGES = ("audiosieve", "apache-beam", "tensorflow", "numpy", "pyarrow", "soundfile", "soxr")


class Run:
    """What is asked for, and what is committed so far.

    Args:
        options: of the command.
        beam_arguments: Beam's own options.
        bundle: the model.
        ledger: of the output.
    """

    def __init__(self, options: ScoreOptions, beam_arguments: Sequence[str], bundle: Bundle, ledger: Ledger) -> None:
        self.options, self.beam_arguments = options, list(beam_arguments)
        self.bundle, self.ledger = bundle, ledger
        self.model = bundle_reference(bundle, options.model)
        self.account, self.work = RunCounts(), Work()
        self.skipped = 0
        self.started = time.monotonic()

    def config(self, run_id: str, corpus: beam.PTransform, counted_in: str | None = None) -> ScoreConfig:
        """Of a job or wave."""
        options = self.options
        limits = BatchLimits(batch_size=options.batch_size, batch_frames=options.batch_frames)
        return ScoreConfig(
            corpus=corpus,
            bundle=self.bundle,
            model=self.model,
            limits=limits,
            threads=options.threads,
            channels=options.channels,
            carry=options.carry,
            ledger=self.ledger,
            run_id=run_id,
            counted_in=counted_in,
            log_level=options.log_level,
        )

    def asked(self, run_id: str, started_s: float, wave: dict[str, int], counts: dict[str, int]) -> dict[str, Any]:
        """What the record of a job or wave says beside what comes of it."""
        return {
            "run_id": run_id,
            "job": "score",
            "options": {**dataclasses.asdict(self.options), "beam": self.beam_arguments},
            "model_id": self.bundle.model_id,
            "bundle_hash": self.bundle.hash,
            "label_scale": self.bundle.label_scale.name,
            "wave": wave,
            "started_s": round(started_s, 3),
            "counts": counts,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        }

    def summary(self) -> str:
        """What was done, in a line, and how, in another."""
        account, work, seconds = self.account, self.work, time.monotonic() - self.started
        text = f"{account.scored} scored, {account.rejected.total()} rejected"
        if account.rejected:
            text += f" ({', '.join(f'{count} {reason}' for reason, count in account.rejected.most_common())})"
        text += f", {self.skipped} skipped as already done"
        if account.scored:
            text += (
                f"; {account.audio_s / 3600:.2f} h of audio in {seconds:.1f} s, "
                f"{account.audio_s / seconds:.0f} x real time"
            )
        text += f"; the tables are in {self.options.output}"
        if work.batches:
            low, middle, high = (account.score_quantile(share) for share in (0.1, 0.5, 0.9))
            text += (
                f"\nscores: a tenth under {low:.1f}, half under {middle:.1f}, a tenth over {high:.1f}; {work.frames:,} frames; "
                f"decoding {work.decode_s:.1f} s, FFT {work.features_s:.1f} s, network {work.model_s:.1f} s; {work.batches:,} "
                f"batch{'' if work.batches == 1 else 'es'} of {work.batch_size:.1f} utterances, {work.padding:.1%} padding"
            )
        return text


class LocalRun(Run):
    """A run on this machine, in waves, each committed before it counts."""

    def __init__(
        self,
        options: ScoreOptions,
        beam_arguments: Sequence[str],
        bundle: Bundle,
        ledger: Ledger,
        listed: int,
        left: Outstanding,
    ) -> None:
        super().__init__(options, beam_arguments, bundle, ledger)
        self.listed, self.left = listed, left
        self.skipped = listed - len(left.refs)
        self.waves = 0
        self._committed = time.time()

    def run(self, processes: int | None) -> int:
        """Scores the recordings that are left.

        Args:
            processes: number of processes; None for one or, if it saves time, one for each core.

        Returns:
            The exit status.
        """
        lengths = Lengths.sampled(self.left.refs)
        seconds = sum(map(lengths.seconds, self.left.refs))
        if processes is None:
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
                    config = self.config(self.ledger.new_run_id(), beam.Create(wave.chunks), counted_in)
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

    def _commit(self, config: ScoreConfig, wave: Wave, waves: int) -> float:
        """Checks what a wave wrote and makes it visible; returns the seconds of audio in it."""
        self.waves += 1
        refs = wave.refs
        place = {"number": self.waves, "of": waves, "inputs": len(refs)}
        asked = self.asked(config.run_id, self._committed, place, {"listed": self.listed, "skipped": self.skipped})
        receipt = Receipt.read(config.receipt)
        stale = {name for ref in refs for name in self.left.stale.get(ref.utterance_id, ())}
        account = commit(self.ledger, config.run_id, asked, receipt, listed_batches(refs), stale, config.schemas)
        self._committed = time.time()
        self.account += account
        self.work += receipt.work
        return account.audio_s

    def _how_to_go_on(self) -> str:
        done = self.account.scored + self.account.rejected.total()
        return (
            f"{self.waves} waves with {done:,} utterances ({self.account.audio_s / 3600:.2f} h) are committed in "
            f"{self.options.output}; run the same command again to go on"
        )


def _processes_for(seconds: float) -> int:
    """One for each core, where there is enough to do for them."""
    return usable_cores() if seconds > HOURS_FOR_PROCESSES * 3600 else 1


class RemoteRun(Run):
    """A run as one job of another runner. The job commits itself, be this process still there or not."""

    def run(
        self,
        runner: PipelineRunner,
        pipeline_options: PipelineOptions,
        listed: int = 0,
        left: Outstanding | None = None,
    ) -> int:
        """Starts the job, and waits for its end where the runner can tell of it; returns the exit status.

        Args:
            runner: to do it.
            pipeline_options: Beam's.
            listed: utterances in the corpus.
            left: those that are to be scored; None where the job itself lists the corpus.
        """
        self.model = share_bundle(self.bundle, self.options.model, self.ledger.root)
        run_id = self.ledger.new_run_id()
        wave, counts = {"number": 1, "of": 1}, {}
        if left is not None:
            wave["inputs"] = len(left.refs)
            self.skipped = listed - len(left.refs)
            counts = {"listed": listed, "skipped": self.skipped}
        started_s = time.time()
        if left is None:
            corpus: beam.PTransform = ListCorpus(absolute(self.options.input), self.ledger)
        else:
            (whole,) = cut_waves(left.refs, Lengths.sampled(left.refs), float("inf"))
            corpus = ReadPlan(write_plan(self.ledger, run_id, whole.chunks))
        name = pipeline_options.view_as(StandardOptions).runner
        print(f"run {run_id} becomes a job of {name} ...", file=sys.stderr)
        root = beam.Pipeline(runner=runner, options=pipeline_options)
        build(root, self.config(run_id, corpus))
        # Only now: whatever went wrong before leaves nothing that is under way.
        self.ledger.begin(run_id, self.asked(run_id, started_s, wave, counts))
        try:
            result = root.run()
        except Exception as error:  # noqa: BLE001 -- runners raise what they like where a job cannot be started
            self.ledger.abandon(run_id)
            return _failed(f"the job could not be started: {_sentence(error)}")
        if template := pipeline_options.view_as(GoogleCloudOptions).template_location:
            print(
                f"the template is {template}; a job started from it commits run {run_id} to {self.options.output} at its end"
            )
            return 0
        return self._wait(run_id, result)

    def _wait(self, run_id: str, result: PipelineResult) -> int:
        forget = f"; if it is gone, run this command again with --forget {run_id}"
        try:
            result.wait_until_finish()
            failed = result.state in _FAILED
            why = f"its state is {result.state}"
        except KeyboardInterrupt:
            return _failed(f"interrupted; the job may go on, and then commits run {run_id} at its end{forget}", 130)
        except Exception as error:  # noqa: BLE001 -- as above
            failed, why = result.state in _FAILED, _sentence(error)
            if not failed:
                return _failed(f"no more is known of the job, which commits run {run_id} at its end ({why}){forget}")
        if failed:
            self.ledger.abandon(run_id)
            return _failed(f"the job failed, and nothing of it is committed: {why}")
        record = next((record for record in self.ledger.records() if record["run_id"] == run_id), None)
        if record is None:
            return _failed(f"the job ended, but there is no record of run {run_id} in {self.options.output}{forget}")
        self.account, self.work = RunCounts.of_record(record), Work.of_sums(record["work"])
        self.skipped = record["counts"]["skipped"]
        print(self.summary())
        return 0


def _failed(sentence: str, status: int = 1) -> int:
    print(f"audiosieve score: {sentence}", file=sys.stderr)
    return status


def _sentence(error: Exception) -> str:
    """What an error says, in a line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
