"""Runs jobs in this process or in child processes, which end with this process.

`audiosieve score` runs the waves of a local run here, each in Beam's in-memory runner. Beam's own worker processes would start
and load TensorFlow again for every wave.
"""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import os
import pickle
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pipelines.scoring.worker_process import start_worker
from transforms.scoring.decode_watch import Mark
from transforms.storage.gcs.client import patch_beam

Job = TypeVar("Job")
Result = TypeVar("Result")

# Seconds between two looks at the deadlines of the processes.
_WATCH_S = 0.5
# Longest time to give up the lock on the output after Ctrl-C, in seconds.
_RELEASE_S = 3.0
# Signals by which a process ends itself.
_OWN_SIGNALS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGILL,
    signal.SIGFPE,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
}


class Death(NamedTuple):
    """The end of a child process during a job.

    Attributes:
        exit_code: exit status of the process; the negative number of a signal that ended it.
        mark: recording that it was decoding; None for no recording.
        is_late: whether it was killed because the recording was not done in time.
    """

    exit_code: int
    mark: Mark | None
    is_late: bool

    @property
    def is_caused_by_itself(self) -> bool:
        """Whether the process ended or hung by itself. Other signals come from outside, such as SIGKILL if memory runs out."""
        return self.is_late or self.exit_code >= 0 or -self.exit_code in _OWN_SIGNALS

    def __str__(self) -> str:
        if self.exit_code >= 0:
            return f"exit status {self.exit_code}"
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:
            return f"signal {-self.exit_code}"


class Workers(Protocol):
    """Runs jobs: a `Pool`, or `ThisProcess`."""

    def results(
        self,
        jobs: Iterable[Job],
        work: Callable[[Job], Result],
        processes: int,
        after_death: Callable[[Job, Death], Job | None] | None = None,
    ) -> Iterator[tuple[Job, Result | None]]:
        """See `Pool.results`."""


class ThisProcess:
    """Runs jobs in this process, for Python programs that load TensorFlow once. If it dies, the program dies."""

    def results(
        self,
        jobs: Iterable[Job],
        work: Callable[[Job], Result],
        processes: int = 1,
        after_death: Callable[[Job, Death], Job | None] | None = None,
    ) -> Iterator[tuple[Job, Result | None]]:
        """See `Pool.results`."""
        del processes, after_death
        for job in jobs:
            yield job, work(job)


class Pool:
    """Child processes, each of which runs one job at a time. They are started when they are needed, and kept.

    Args:
        marks: folder in which the processes mark the recordings that they decode (`decode_watch`); None for no marks.

    Attributes:
        marks: the same folder.
    """

    def __init__(self, marks: str | None = None) -> None:
        self.marks = marks
        self._idle: list[_Child[Any]] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._idle:
            child.kill()

    def results(
        self,
        jobs: Iterable[Job],
        work: Callable[[Job], Result],
        processes: int,
        after_death: Callable[[Job, Death], Job | None] | None = None,
    ) -> Iterator[tuple[Job, Result | None]]:
        """Runs jobs in child processes.

        Args:
            jobs: jobs, which can be pickled. The iterator is advanced whenever a process is free.
            work: function that runs a job; it and its result can be pickled.
            processes: number of processes.
            after_death: function that returns the job to run instead of one whose process died, or None to go on without
                it. By default, the death of a process is an error.

        Yields:
            Each job when it is done, with the result of `work`, or with None if its process died. If a job fails or the
            iterator is closed early, the processes are killed.

        Raises:
            BrokenProcessPool: a process died.
        """
        waiting = iter(jobs)
        busy: list[_Child[Job]] = []

        def start(job: Job) -> None:
            child: _Child[Job] = self._idle.pop() if self._idle else _Child(self.marks)
            busy.append(child)
            child.start(work, job)

        # All processes start before the first gets a job, because sending a large job takes until its process has started.
        self._idle += [_Child(self.marks) for _ in range(processes - len(self._idle))]
        try:
            for job in waiting:
                start(job)
                if len(busy) == processes:
                    break
            while busy:
                child = _first_done(busy)
                busy.remove(child)
                job, end = child.job, child.end()
                result = None
                if isinstance(end, Death):
                    replacement = (after_death or _refuse)(job, end)
                    if replacement is not None:
                        start(replacement)
                        continue
                else:
                    self._idle.append(child)
                    result = end.result()
                for following in waiting:
                    start(following)
                    break
                yield job, result
        finally:
            for child in busy:
                child.kill()


def _refuse(_: object, death: Death) -> None:
    raise BrokenProcessPool(f"a process died ({death})")


class _Answer(NamedTuple):
    """The result of a job, or the error that it raised, with its traceback."""

    value: Any
    error: Exception | None = None
    trace: str = ""

    def result(self) -> Any:
        """Returns the result. Raises the error of the job."""
        if self.error is not None:
            raise self.error from RuntimeError(f"in a child process:\n{self.trace}")
        return self.value


class _Child(Generic[Job]):
    """A child process.

    Args:
        marks: folder for its mark; None for no marks.

    Attributes:
        connection: connection to the process.
        job: the job that it runs.
    """

    job: Job

    def __init__(self, marks: str | None) -> None:
        self._marks = marks
        self._process, self.connection = start_worker()
        self._is_late = False

    def start(self, work: Callable[[Job], Any], job: Job) -> None:
        """Starts a job."""
        self.job = job
        with contextlib.suppress(BrokenPipeError):  # the process has died, which `end` reports
            self.connection.send((work, job))

    def enforce_deadline(self) -> None:
        """Kills the process if the recording that it decodes is not done in time."""
        mark = self._mark()
        if mark is not None and time.monotonic() > mark.deadline_s:
            self._is_late = True
            self._process.kill()

    def end(self) -> _Answer | Death:
        """Returns the answer of the process, which has sent it or has died."""
        try:
            answer: _Answer = self.connection.recv()
            return answer
        except (EOFError, ConnectionResetError):
            self._process.join()
            death = Death(self._process.exitcode or 0, self._mark(), self._is_late)
            if self._marks:
                Path(self._marks, str(self._process.pid)).unlink(missing_ok=True)  # another process may get the same id
            return death

    def kill(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()

    def _mark(self) -> Mark | None:
        return Mark.read(self._marks, self._process.pid or 0) if self._marks else None


def _first_done(children: list[_Child[Job]]) -> _Child[Job]:
    """Waits until a process has done its job or has died; kills those that exceed a deadline."""
    by_connection = {child.connection: child for child in children}
    while True:
        for ready in multiprocessing.connection.wait(by_connection, _WATCH_S):
            return by_connection[ready]  # type: ignore[index]
        for child in children:
            child.enforce_deadline()


def serve_jobs(connection: Connection) -> None:
    """Runs the jobs that the parent sends, in a worker process."""
    patch_beam()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            work, job = connection.recv()
            try:
                answer = _Answer(work(job))
            except Exception as error:  # noqa: BLE001 -- the parent raises it
                answer = _Answer(None, _picklable(error), traceback.format_exc())
            connection.send(answer)


def _picklable(error: Exception) -> Exception:
    """Returns an error that the parent can read."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 -- any error of a class that cannot be pickled
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@contextlib.contextmanager
def exit_on_signal(message: Callable[[], str], folder: str, release: Callable[[], None]) -> Iterator[None]:
    """Ends this process and its children at Ctrl-C or SIGTERM, with a message on stderr.

    It exits at once instead of raising an exception, because an exception could be lost: in a callback from libsndfile, Python
    prints it and continues. Committed waves are complete, and the next run removes other files, so that only the lock needs to
    be given up. If that takes long, because the storage does not answer or this thread was just renewing it, the lock expires.

    Args:
        message: function that returns the message.
        folder: temporary folder of this run, which is removed.
        release: function that gives up the lock on the output.
    """

    def end(number: int, _: object) -> None:
        os.write(2, f"\n{message()}\n".encode())  # `print` may be running in another thread
        shutil.rmtree(folder, ignore_errors=True)
        releasing = threading.Thread(target=release, daemon=True)
        releasing.start()
        releasing.join(_RELEASE_S)
        os._exit(128 + number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            # Keep a signal ignored that nohup, or a shell that started a background process, ignores on purpose.
            if signal.getsignal(number) != signal.SIG_IGN:
                previous[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
