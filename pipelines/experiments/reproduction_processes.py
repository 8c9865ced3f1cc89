"""Runs the trainings of `audiosieve reproduce` one after the other, or several at a time in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from model.runtime import start_tensorflow
from pipelines.experiments.reproduction_files import write_json
from pipelines.experiments.reproduction_training import NetworkTraining, run_network
from pipelines.scoring.worker_process import end_with
from transforms.errors import OutputError

# Variables that set the number of threads of libraries when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class TrainingPool:
    """Trains networks and writes their results. Use it in a `with` block, whose end stops the processes.

    With one process, a network is trained in this process. With more, each network has a process of its own, which ends with
    this one, and writes its messages to `OUT/repeat-NN/<network>.log`.

    Args:
        processes: number of networks that are trained at the same time, at least 1.
        threads: TensorFlow threads of each training; None for TensorFlow's choice, or 1 with several processes.
        on_finish: function that is called with a finished training.
    """

    def __init__(self, processes: int, threads: int | None, on_finish: Callable[[NetworkTraining], None]) -> None:
        self._processes = processes
        self._threads = threads
        self._on_finish = on_finish
        self._running: dict[BaseProcess, tuple[NetworkTraining, float]] = {}
        if processes == 1:
            start_tensorflow(threads)

    def __enter__(self) -> TrainingPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.join()
        self._running.clear()

    def running(self) -> list[tuple[str, float]]:
        """Returns the network and the seconds so far of each training that runs now."""
        now = time.monotonic()
        return [(training.network, now - started) for training, started in self._running.values()]

    def train(self, training: NetworkTraining) -> None:
        """Trains a network in this process, or starts its process; call `wait_for_slot` before."""
        if self._processes == 1:
            write_json(training.result, run_network(training))
            self._on_finish(training)
            return
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_train_alone, args=(training, self._threads or 1, os.getpid()), daemon=True)
        with _one_thread():
            process.start()
        self._running[process] = (training, time.monotonic())

    def wait_for_slot(self) -> None:
        """Waits until another network can be trained.

        Raises:
            OutputError: a process ended without a result.
        """
        self._wait(self._processes - 1)

    def wait_for_all(self) -> None:
        """Waits until no network is trained.

        Raises:
            OutputError: a process ended without a result.
        """
        self._wait(0)

    def _wait(self, most: int) -> None:
        while len(self._running) > most:
            wait([process.sentinel for process in self._running])
            for process in [process for process in self._running if process.exitcode is not None]:
                training, _ = self._running.pop(process)
                if not training.result.exists():
                    raise OutputError(
                        f"the training of {training.network} in repeat {training.repeat} ended with status "
                        f"{process.exitcode}; {_log_file(training)} has its messages"
                    )
                self._on_finish(training)


def _log_file(training: NetworkTraining) -> Path:
    return training.folder / f"{training.network}.log"


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sets one thread for the libraries of processes that start in the block."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _train_alone(training: NetworkTraining, threads: int, parent: int) -> None:
    """Trains a network in a process of its own. It ignores Ctrl-C, which the parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
    with _log_file(training).open("a", encoding="utf-8") as log:
        for descriptor in (1, 2):  # of the process, so that the log also has the message of an error that ends it
            os.dup2(log.fileno(), descriptor)
    start_tensorflow(threads)
    write_json(training.result, run_network(training))
