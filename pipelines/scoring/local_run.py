"""A run of `audiosieve score` on this machine, in waves."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence, Set
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from model.bundle import Bundle
from pipelines.common.output_lock import OutputLock
from pipelines.common.runners import usable_cores
from pipelines.common.wording import counted, counted_inputs
from pipelines.scoring.graph import Committer, ScoreConfig
from pipelines.scoring.length_sample import sample_lengths
from pipelines.scoring.options import ScoreOptions
from pipelines.scoring.process_pool import Death, Pool, ThisProcess, Workers, exit_on_signal
from pipelines.scoring.progress_bar import ProgressBar
from pipelines.scoring.runs import Run, fail
from pipelines.scoring.wave_job import WaveJob
from pipelines.scoring.worker_process import is_own
from transforms.corpus.carried import carried_fields
from transforms.durations import duration_text
from transforms.elements import AudioRef
from transforms.output.carried_columns import align_carried
from transforms.output.ledger import Ledger
from transforms.output.receipts import Receipt
from transforms.output.reconcile import listed_batches
from transforms.runs.chunking import Lengths, Wave, cut_waves
from transforms.runs.commit import check_unchanged, commit
from transforms.runs.corpus_chunks import GivenChunks
from transforms.runs.incremental import Outstanding
from transforms.scoring.bundles import bundle_reference
from transforms.scoring.decode_watch import NO_WATCH, DecodeWatch

# Messages of the operating system if a disk or quota is full.
_DISK_FULL = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
# Hours of audio above which more processes save more time than they need to start.
HOURS_FOR_PROCESSES = 2.0


class LocalRun(Run):
    """A run on this machine, in waves. Each wave is scored by one process and committed by this one.

    Args:
        options: options of the command.
        beam_arguments: options of Beam.
        bundle: the model.
        ledger: ledger of the output.
        listed: number of utterances in the corpus.
        outstanding: utterances to score.
        known: ids of the runs that are the reason why other utterances need not be scored.
        lock: lock on the output.
    """

    def __init__(
        self,
        options: ScoreOptions,
        beam_arguments: Sequence[str],
        bundle: Bundle,
        ledger: Ledger,
        listed: int,
        outstanding: Outstanding,
        known: Set[str],
        lock: OutputLock,
    ) -> None:
        super().__init__(options, beam_arguments, bundle, ledger)
        self.listed, self.outstanding = listed, outstanding
        self._known, self._lock = set(known), lock
        self.skipped = listed - len(outstanding.refs)
        if outstanding.refs:
            self._align_carried(outstanding.refs)
        self.waves = 0
        self._wave_started_s = time.time()

    def _align_carried(self, refs: Sequence[AudioRef]) -> None:
        """Sets the types of the carried columns, and gives the rows of earlier runs the same types."""
        run_id = self.ledger.new_run_id()
        fields = carried_fields(refs, self.options.carry)
        self.carry = tuple(align_carried(self.ledger, fields, run_id, lambda: self._check_unchanged(run_id)))
        if self.ledger.is_committed(run_id):
            self._known.add(run_id)

    def run(self, processes: int | None) -> int:
        """Scores the outstanding utterances.

        Args:
            processes: number of processes; None for one or, if it saves time, one for each core.

        Returns:
            The exit status.
        """
        with (
            tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch,
            exit_on_signal(
                lambda: f"audiosieve score: interrupted; {self._how_to_continue()}", scratch, self._lock.release
            ),
            Pool(_folder(scratch, "marks")) as pool,
        ):
            return self._run(processes, pool, _folder(scratch, "counters"))

    def _run(self, processes: int | None, pool: Pool, counters: str) -> int:
        refs = self.outstanding.refs
        watch = DecodeWatch(self.options.recording_timeout_s, pool.marks)
        # A Python program that calls the command with one process scores in its own process.
        own = is_own()
        lengths, faults = sample_lengths(refs, pool, watch) if own else (Lengths.sampled(refs), {})
        total_s = lengths.total_s(refs)
        processes = processes or (usable_cores() if total_s > HOURS_FOR_PROCESSES * 3600 else 1)
        # At least as many waves as processes, so that each process has one.
        hours = min(self.options.wave_hours, total_s / 3600 / processes * 1.01)
        waves = cut_waves(refs, lengths, hours)
        processes = min(processes, len(waves))
        print(
            f"scoring {counted_inputs(refs)}, about {duration_text(total_s)}, with {self.bundle.model_id} in "
            f"{counted(processes, 'process', 'processes')} and {counted(len(waves), 'wave')} ...",
            file=sys.stderr,
        )
        workers: Workers = pool
        watch = dataclasses.replace(watch, faults=faults)
        if processes == 1 and not own:
            workers, watch = ThisProcess(), NO_WATCH
        try:
            self._score(waves, workers, processes, watch, ProgressBar(counters, len(refs), total_s))
        except BrokenProcessPool as error:
            return fail(
                f"{error}, perhaps because memory ran out (try a smaller --direct_num_workers); {self._how_to_continue()}"
            )
        except (OSError, RuntimeError) as error:  # Beam wraps an OSError in a RuntimeError
            message = next((message for message in _DISK_FULL if message in str(error)), None)
            if message is None:
                raise
            return fail(
                f"{message}: free space in --output and in {tempfile.gettempdir()} (TMPDIR selects another folder); "
                f"{self._how_to_continue()}"
            )
        return 0

    def _score(
        self, waves: Sequence[Wave], workers: Workers, processes: int, watch: DecodeWatch, progress: ProgressBar
    ) -> None:
        """Scores the waves, and commits each as soon as it is complete."""
        model = bundle_reference(self.bundle, self.options.model)

        def jobs() -> Iterator[WaveJob]:
            for wave in waves:
                run_id, corpus = self.ledger.new_run_id(), GivenChunks(wave.chunks)
                config = self._config(run_id, model, corpus, Committer.LAUNCHER, watch, progress.counters)
                yield WaveJob(config, wave)

        with progress.shown():
            for job, _ in workers.results(jobs(), WaveJob.run, processes, self._repeat):
                progress.add_committed(job.wave.seconds, self._commit(job.config, job.wave, len(waves)))

    def _repeat(self, job: WaveJob, death: Death) -> WaveJob:
        """Returns the job that repeats a wave whose process died, and deletes what it wrote."""
        repeated = job.after(death, self.ledger.new_run_id())
        self.ledger.discard(job.config.run_id)
        return repeated

    def _commit(self, config: ScoreConfig, wave: Wave, num_waves: int) -> float:
        """Commits a wave; returns the seconds of audio that it scored."""
        self.waves += 1
        refs = wave.refs
        request = self._request(
            config.run_id,
            self._wave_started_s,
            wave={"number": self.waves, "of": num_waves, "inputs": len(refs)},
            counts={"listed": self.listed, "skipped": self.skipped},
        )
        receipt = Receipt.read(self.ledger.receipt(config.run_id))
        stale = {name for ref in refs for name in self.outstanding.stale.get(ref.utterance_id, ())}
        counts = commit(
            self.ledger,
            config.run_id,
            request,
            receipt,
            listed_batches(refs),
            stale,
            config.schemas,
            check=lambda: self._check_unchanged(config.run_id),
        )
        self._known.add(config.run_id)
        self._wave_started_s = time.time()
        self.counts += counts
        self.work += receipt.work
        return counts.audio_s

    def _check_unchanged(self, run_id: str) -> None:
        check_unchanged(self.ledger, run_id, self._known)
        self._lock.check()

    def _how_to_continue(self) -> str:
        done = self.counts.scored + self.counts.rejected.total()
        return (
            f"{counted(self.waves, 'wave')} with {counted(done, 'utterance')} ({duration_text(self.counts.audio_s)}) "
            f"{'is' if self.waves == 1 else 'are'} committed in {self.options.output}; run the same command again to continue"
        )


def _folder(parent: str, name: str) -> str:
    """Creates a folder and returns its path."""
    path = Path(parent, name)
    path.mkdir()
    return str(path)
