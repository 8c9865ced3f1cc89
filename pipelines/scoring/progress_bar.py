"""Progress of a local run on stderr: a bar on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator

from transforms.durations import duration_text
from transforms.progress_counters import ProgressCounts, read_counters

# Seconds between two updates of the bar, and between two JSON lines.
BAR_S, LINE_S = 0.5, 30.0
BAR_WIDTH = 24


class ProgressBar:
    """Shows the progress of a run.

    Args:
        counters: folder with the progress counters of the processes.
        inputs: number of inputs.
        estimated_s: estimated length of all inputs in seconds.

    Attributes:
        counters: folder with the progress counters.
    """

    def __init__(self, counters: str, inputs: int, estimated_s: float) -> None:
        self.counters, self._inputs = counters, inputs
        self._estimated_s = estimated_s
        self._committed_estimate_s = self._committed_s = 0.0
        self._waves = 0
        self._started = time.monotonic()

    def add_committed(self, estimated_s: float, audio_s: float) -> None:
        """Adds a committed wave.

        Args:
            estimated_s: estimated length of the wave in seconds.
            audio_s: seconds of audio that it scored.
        """
        self._waves += 1
        self._committed_estimate_s += estimated_s
        self._committed_s += audio_s

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the progress while the block runs."""
        finished = threading.Event()
        terminal = sys.stderr.isatty()

        def show() -> None:
            while not finished.wait(BAR_S if terminal else LINE_S):
                facts = self.facts()
                text = f"\r{bar(facts)}\x1b[K" if terminal else f"{json.dumps(facts)}\n"
                print(text, end="", file=sys.stderr, flush=True)

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()
            if terminal:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def facts(self) -> dict[str, float]:
        """Returns the current numbers; see `progress_facts`."""
        elapsed_s = time.monotonic() - self._started
        return progress_facts(read_counters(self.counters), self._inputs, self.total_s, elapsed_s, self._waves)

    @property
    def total_s(self) -> float:
        """Length of all inputs in seconds: known for committed waves; estimated for others, corrected by the error so far."""
        can_correct = self._committed_s > 0 and self._committed_estimate_s > 0
        correction = self._committed_s / self._committed_estimate_s if can_correct else 1.0
        return self._committed_s + correction * (self._estimated_s - self._committed_estimate_s)


def progress_facts(done: ProgressCounts, inputs: int, total_s: float, elapsed_s: float, waves: int) -> dict[str, float]:
    """Returns the numbers that describe a run in progress.

    Args:
        done: sum of the progress counters.
        inputs: number of inputs; an archive counts as one.
        total_s: length of all inputs in seconds, estimated.
        elapsed_s: seconds since the start.
        waves: number of committed waves.
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
    """Returns the numbers of `progress_facts` as one line for a terminal."""
    share = min(facts["hours"] / facts["of_hours"], 1.0) if facts["of_hours"] else 0.0
    filled = round(BAR_WIDTH * share)
    minutes, seconds = divmod(int(facts["seconds_left"]), 60)
    remaining = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left" if facts["seconds_left"] >= 0 else "starting"
    return (
        f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {facts['scored'] + facts['rejected']:,} of {facts['of']:,} files, "
        f"{duration_text(3600 * facts['hours'])} of {duration_text(3600 * facts['of_hours'])}, "
        f"{facts['x_real_time']:,} x real time, {remaining}, "
        f"{facts['rejected']:,} rejected"
    )
