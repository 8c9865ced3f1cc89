"""A local run: waves of a corpus one after the other, in this process or in several, with its progress shown.

Each process works through whole waves in Beam's in-memory runner. Beam's own worker processes would be started anew, and load
TensorFlow anew, for every wave.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TypeVar

from transforms.progress_counters import ProgressCounts, read_counters

BAR_S, LINE_S = 0.5, 30.0
BAR_WIDTH = 24

Job = TypeVar("Job")


def run_all(jobs: Iterable[Job], work: Callable[[Job], None], processes: int) -> Iterator[Job]:
    """Does jobs in so many processes, in this one for 1.

    Args:
        jobs: what to do; taken one by one, as processes get free.
        work: does a job. Both can be pickled.
        processes: how many.

    Yields:
        Each job when it is done. Whoever stops asking, as by an exception, ends the processes too.

    Raises:
        concurrent.futures.process.BrokenProcessPool: a process died.
    """
    if processes == 1:
        for job in jobs:
            work(job)
            yield job
        return
    waiting = iter(jobs)
    executor = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _serve, (os.getpid(),))
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


def _serve(parent: int) -> None:
    """Sets a process up: Ctrl-C is the parent's to answer, and where that is gone there is nothing left to do."""
    logging.basicConfig(level=logging.ERROR)  # as in the parent: Beam warns of what it lacks and nobody needs here
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def ending_at_once(say: Callable[[], str], folder: str) -> Iterator[None]:
    """Ends this process, and so all that it started, at Ctrl-C and at SIGTERM, with a line on stderr.

    An exception in their place could be lost: where libsndfile calls back for bytes, Python prints it and goes on. Nothing
    needs to be undone: what is committed is whole, and the rest the next run removes.

    Args:
        say: what.
        folder: to remove; it is this run's alone.
    """

    def end(number: int, _: object) -> None:
        os.write(2, f"\n{say()}\n".encode())  # `print` may be at work in another thread
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            # Who started it to be deaf, as nohup and shells do in the background, has a reason.
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Progress:
    """Shows how far a run is: a bar on a terminal, else one JSON line every half minute, both on stderr.

    Args:
        folder: of the tallies that its processes keep.
        inputs: how many there are to do.
        seconds: of audio in all, as guessed.
    """

    def __init__(self, folder: str, inputs: int, seconds: float) -> None:
        self._folder, self._inputs = folder, inputs
        self._guessed = seconds
        self._committed_guess = self._committed_s = 0.0
        self._waves = 0
        self._started = time.monotonic()

    def committed(self, guessed_s: float, audio_s: float) -> None:
        """A wave is done: how long it was guessed to be, and how much was scored."""
        self._waves += 1
        self._committed_guess += guessed_s
        self._committed_s += audio_s

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Shows it while the block runs."""
        over = threading.Event()
        terminal = sys.stderr.isatty()

        def show() -> None:
            while not over.wait(BAR_S if terminal else LINE_S):
                facts = self.facts()
                text = f"\r{bar(facts)}\x1b[K" if terminal else f"{json.dumps(facts)}\n"
                print(text, end="", file=sys.stderr, flush=True)

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            if terminal:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def facts(self) -> dict[str, float]:
        """How far it is now."""
        return progress_facts(
            read_counters(self._folder), self._inputs, self.total_s, time.monotonic() - self._started, self._waves
        )

    @property
    def total_s(self) -> float:
        """Seconds of audio in all: what is committed is known, and tells how far the guess for the rest is off."""
        off = self._committed_s / self._committed_guess if self._committed_s and self._committed_guess else 1.0
        return self._committed_s + off * (self._guessed - self._committed_guess)


def progress_facts(done: ProgressCounts, inputs: int, total_s: float, elapsed_s: float, waves: int) -> dict[str, float]:
    """What there is to say of a run that is under way.

    Args:
        done: so far.
        inputs: how many there are to do; archives count as one.
        total_s: seconds of audio in all, as far as is known.
        elapsed_s: since the start.
        waves: that are committed.
    """
    share = min(done.audio_s / total_s, 1.0) if total_s > 0 else 0.0
    return {
        "scored": done.scored,
        "rejected": done.rejected,
        "of": inputs,
        "hours": round(done.audio_s / 3600, 3),
        "of_hours": round(max(total_s, done.audio_s) / 3600, 3),
        "x_real_time": round(done.audio_s / elapsed_s) if elapsed_s > 0 else 0,
        "seconds_left": round(elapsed_s * (1 - share) / share) if share else -1,
        "waves_committed": waves,
    }


def bar(facts: dict[str, float]) -> str:
    """One line for a terminal."""
    share = min(facts["hours"] / facts["of_hours"], 1.0) if facts["of_hours"] else 0.0
    filled = round(BAR_WIDTH * share)
    minutes, seconds = divmod(int(facts["seconds_left"]), 60)
    left = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left" if facts["seconds_left"] >= 0 else "just begun"
    return (
        f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {facts['scored'] + facts['rejected']:,} of {facts['of']:,} files, "
        f"{facts['hours']:.2f} of {facts['of_hours']:.2f} h, {facts['x_real_time']:,} x real time, {left}, "
        f"{facts['rejected']:,} rejected"
    )
