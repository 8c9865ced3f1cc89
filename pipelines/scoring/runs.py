"""The common part of runs of `audiosieve score`, and a run as one job on another Beam runner."""

from __future__ import annotations

import dataclasses
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

from model.bundle import Bundle
from pipelines.common.errors import NOTHING_LEFT
from pipelines.common.wording import counted, most_first
from pipelines.scoring.dataflow_jobs import describe_job
from pipelines.scoring.graph import Committer, ScoreConfig, build
from pipelines.scoring.length_sample import sample_lengths_alone
from pipelines.scoring.options import ScoreOptions
from transforms.corpus.carried import carried_fields
from transforms.corpus.source_rows import manifest_versions
from transforms.durations import duration_text
from transforms.output.carried_columns import align_carried
from transforms.output.ledger import Job, Ledger, count_rows
from transforms.output.reconcile import RunCounts
from transforms.output.records import names_that_count, read_record, record_path
from transforms.runs.chunking import cut_chunks, recordings
from transforms.runs.incremental import Outstanding
from transforms.runs.plan import ReadPlan, write_plan
from transforms.runs.worker_listing import ListCorpus
from transforms.schemas import carried_field
from transforms.scoring.batching import BatchLimits
from transforms.scoring.bundles import share_bundle
from transforms.scoring.decode_watch import NO_WATCH, DecodeWatch
from transforms.storage.files import absolute
from transforms.telemetry import Work

_FAILED = {PipelineState.FAILED, PipelineState.CANCELLED}
_PACKAGES = ("audiosieve", "apache-beam", "tensorflow", "numpy", "pyarrow", "soundfile", "soxr")


class Run:
    """Common part of local and remote runs: the configuration, the record, and the counts of committed utterances.

    Args:
        options: options of the command.
        beam_arguments: options of Beam.
        bundle: the model.
        ledger: ledger of the output.

    Attributes:
        counts: counts of the committed utterances.
        work: work of the committed utterances.
        skipped: number of utterances that earlier runs scored.
    """

    def __init__(self, options: ScoreOptions, beam_arguments: Sequence[str], bundle: Bundle, ledger: Ledger) -> None:
        self.options, self.beam_arguments = options, list(beam_arguments)
        self.carry = tuple(map(carried_field, options.carry))
        self.bundle, self.ledger = bundle, ledger
        self.counts, self.work = RunCounts(), Work()
        self.skipped = 0
        self._manifests = manifest_versions(absolute(options.input))
        self._started = time.monotonic()

    def _config(
        self,
        run_id: str,
        model: str,
        corpus: beam.PTransform,
        committer: Committer,
        watch: DecodeWatch = NO_WATCH,
        counters: str | None = None,
    ) -> ScoreConfig:
        options = self.options
        return ScoreConfig(
            corpus=corpus,
            bundle=self.bundle,
            model=model,
            limits=BatchLimits(batch_size=options.batch_size, batch_frames=options.batch_frames),
            threads=options.threads,
            channels=options.channels,
            carry=self.carry,
            ledger=self.ledger,
            run_id=run_id,
            committer=committer,
            counters=counters,
            log_level=options.log_level,
            watch=watch,
        )

    def _request(self, run_id: str, started_s: float, wave: dict[str, int], counts: dict[str, int]) -> dict[str, Any]:
        """Returns the part of the run's record that is known before the run."""
        return {
            "run_id": run_id,
            "job": Job.SCORE,
            "options": {**dataclasses.asdict(self.options), "beam": self.beam_arguments},
            "manifests": self._manifests,
            "model_id": self.bundle.model_id,
            "bundle_hash": self.bundle.hash,
            "label_scale": self.bundle.label_scale.name,
            "wave": wave,
            "started_s": round(started_s, 3),
            "counts": counts,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        }

    def summary(self) -> str:
        """Returns the numbers of the run in one or two lines."""
        counts, work, seconds = self.counts, self.work, time.monotonic() - self._started
        recordings = counts.rejected - counts.other_files
        text = f"{counts.scored} scored, {recordings.total()} rejected"
        if recordings:
            text += f" ({', '.join(f'{count} {reason}' for reason, count in most_first(recordings))})"
        if counts.other_files:
            text += f", {counted(counts.other_files.total(), 'other file')}"
        text += f", {self.skipped} skipped as already done"
        if counts.scored:
            speed = f"{counts.audio_s / seconds:,.0f} x real time"
            text += f"; {duration_text(counts.audio_s)} of audio in {duration_text(seconds)}, {speed}"
        text += f"; the tables are in {self.options.output}"
        if work.batches:
            p10, p50, p90 = (counts.score_quantile(share) for share in (0.1, 0.5, 0.9))
            text += (
                f"\nscores: a tenth under {p10:.1f}, half under {p50:.1f}, a tenth over {p90:.1f}; {work.frames:,} frames; "
                f"decoding {work.decode_s:.1f} s, FFT {work.features_s:.1f} s, network {work.model_s:.1f} s; {work.batches:,} "
                f"batch{'' if work.batches == 1 else 'es'} of {work.batch_size:.1f} utterances, {work.padding:.1%} padding"
            )
        return text

    def status(self) -> int:
        """Returns the exit status: `NOTHING_LEFT`, with a sentence on stderr, if the output has no scored utterance."""
        if self.counts.scored:
            return 0
        files = names_that_count(self.ledger.records(), "utterances")
        if any(count_rows(self.ledger, "utterances", [name]) for name in files):
            return 0
        output = self.options.output
        return fail(
            f"no utterance has a score, because all inputs were rejected; the reasons are in {output}/rejects "
            f"(audiosieve query {output} 'SELECT uri, reason, detail FROM rejects')",
            NOTHING_LEFT,
        )


class RemoteRun(Run):
    """A run as one job on another runner. The job commits itself, even if this process has ended.

    Args:
        options: options of the command.
        beam_arguments: options of Beam.
        bundle: the model.
        ledger: ledger of the output.
        runner: the runner.
        pipeline_options: options of Beam, parsed.
        check_lock: function that raises an error if this process no longer holds the lock on the output.
    """

    def __init__(
        self,
        options: ScoreOptions,
        beam_arguments: Sequence[str],
        bundle: Bundle,
        ledger: Ledger,
        runner: PipelineRunner,
        pipeline_options: PipelineOptions,
        check_lock: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(options, beam_arguments, bundle, ledger)
        self.runner, self.pipeline_options, self._check_lock = runner, pipeline_options, check_lock
        self.run_id = ledger.new_run_id()
        self._started_s = time.time()

    def score(self, listed: int, outstanding: Outstanding) -> int:
        """Scores utterances that this process listed.

        Args:
            listed: number of utterances in the corpus.
            outstanding: utterances to score.

        Returns:
            The exit status.
        """
        refs = outstanding.refs
        fields = carried_fields(refs, self.options.carry)
        self.carry = tuple(align_carried(self.ledger, fields, check=self._check_lock))
        lengths, faults = sample_lengths_alone(refs, self.options.recording_timeout_s)
        plan = write_plan(self.ledger, self.run_id, cut_chunks(recordings(refs), lengths))
        self.skipped = listed - len(refs)
        return self._run(
            ReadPlan(plan),
            wave={"number": 1, "of": 1, "inputs": len(refs)},
            counts={"listed": listed, "skipped": self.skipped},
            watch=DecodeWatch(faults=faults),
        )

    def list_and_score(self) -> int:
        """Scores a corpus that the job itself lists; returns the exit status."""
        corpus = ListCorpus(absolute(self.options.input), self.ledger, self.run_id)
        return self._run(corpus, wave={"number": 1, "of": 1}, counts={})

    def _run(
        self, corpus: beam.PTransform, wave: dict[str, int], counts: dict[str, int], watch: DecodeWatch = NO_WATCH
    ) -> int:
        """Starts the job and waits for its end, or writes its template; returns the exit status."""
        model = share_bundle(self.bundle, self.options.model, self.ledger.root)
        runner_name = self.pipeline_options.view_as(StandardOptions).runner
        print(f"starting run {self.run_id} as a job of {runner_name} ...", file=sys.stderr)
        job = describe_job(self.runner, self.pipeline_options, self.run_id)
        root = beam.Pipeline(runner=self.runner, options=self.pipeline_options)
        build(root, self._config(self.run_id, model, corpus, Committer.PIPELINE, watch))
        # Begin the run only now, so that an earlier failure leaves no pending run.
        self._check_lock()
        self.ledger.begin(self.run_id, {**self._request(self.run_id, self._started_s, wave, counts), **job})
        try:
            result = root.run()
        except Exception as error:  # noqa: BLE001 -- runners raise any error if a job cannot be started
            self.ledger.abandon(self.run_id)
            return fail(f"the job could not be started: {_first_line(error)}")
        if template := self.pipeline_options.view_as(GoogleCloudOptions).template_location:
            print(
                f"the template is {template}; a job started from it commits run {self.run_id} to {self.options.output} at "
                "its end"
            )
            return 0
        return self.wait(result)

    def wait(self, result: PipelineResult) -> int:
        """Waits for the end of the job.

        Args:
            result: handle of the job.

        Returns:
            The exit status.
        """
        forget = f"; if the job is gone, run this command again with --forget {self.run_id}"
        try:
            result.wait_until_finish()
            failed = result.state in _FAILED
            reason = f"its state is {result.state}"
        except KeyboardInterrupt:
            return fail(f"interrupted; the job may still run and commit run {self.run_id} at its end{forget}", 130)
        except Exception as error:  # noqa: BLE001 -- as above
            failed, reason = result.state in _FAILED, _first_line(error)
            if not failed:
                return fail(
                    f"the state of the job is unknown ({reason}); it may still run and commit run {self.run_id} at its "
                    f"end{forget}"
                )
        record = read_record(record_path(self.ledger.root, self.run_id))
        if failed and record is None:
            self.ledger.abandon(self.run_id)
            return fail(f"the job failed and committed nothing: {reason}")
        if record is None:
            return fail(f"the job ended, but {self.options.output} has no record of run {self.run_id}{forget}")
        self.counts, self.work = RunCounts.of_record(record), Work.of_sums(record["work"])
        self.skipped = record["counts"]["skipped"]
        print(self.summary())
        return self.status()


def fail(message: str, status: int = 1) -> int:
    """Prints an error of the command; returns the exit status."""
    print(f"audiosieve score: {message}", file=sys.stderr)
    return status


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
