"""Runs jobs in this process or in child processes, which end with this process.

`audiosieve score` runs the waves of a local run here, each in Beam's in-memory runner. Beam's own worker processes would start
and load TensorFlow again for every wave.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TypeVar

from transforms.storage.gcs import patch_beam

Job = TypeVar("Job")


def run_all(jobs: Iterable[Job], work: Callable[[Job], None], processes: int) -> Iterator[Job]:
    """Runs jobs in processes.

    Args:
        jobs: jobs, which can be pickled. The iterator is advanced whenever a process is free.
        work: function that runs a job; it can be pickled.
        processes: number of processes; 1 runs the jobs in this process.

    Yields:
        Each job when it is done. If a job fails or the iterator is closed early, the processes are killed.

    Raises:
        concurrent.futures.process.BrokenProcessPool: a process died.
    """
    if processes == 1:
        for job in jobs:
            work(job)
            yield job
        return
    waiting = iter(jobs)
    executor = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start_child, (os.getpid(),))
    try:
        running: dict[Future[None], Job] = {}
        for job in waiting:
            running[executor.submit(work, job)] = job
            if len(running) == processes:
                break
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                future.result()
                for following in waiting:
                    running[executor.submit(work, following)] = following
                    break
                yield job
    except BaseException:
        for process in list((executor._processes or {}).values()):
            process.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _start_child(parent: int) -> None:
    """Initializes a child process: it ignores Ctrl-C, which the parent handles, and exits when the parent has exited."""
    logging.basicConfig(level=logging.ERROR)  # Beam warns about packages that a local run does not need
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    patch_beam()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def exit_on_signal(message: Callable[[], str], folder: str) -> Iterator[None]:
    """Ends this process and its children at Ctrl-C or SIGTERM, with a message on stderr.

    It exits at once instead of raising an exception, because an exception could be lost: in a callback from libsndfile, Python
    prints it and continues. Nothing needs to be undone: committed waves are complete, and the next run removes other files.

    Args:
        message: function that returns the message.
        folder: temporary folder of this run, which is removed.
    """

    def end(number: int, _: object) -> None:
        os.write(2, f"\n{message()}\n".encode())  # `print` may be running in another thread
        shutil.rmtree(folder, ignore_errors=True)
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
