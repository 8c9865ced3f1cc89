"""The real command line, run as a user runs it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import signal
import subprocess
import sys
from operator import itemgetter
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.cli import main
from transforms.schemas import SCORE_TABLES


@dataclasses.dataclass
class Done:
    """What a finished command printed."""

    stdout: str
    stderr: str


def audiosieve(*arguments: object, status: int = 0) -> Done:
    """Runs the command line in this process, where TensorFlow is loaded once, and checks its exit status."""
    words = [str(argument) for argument in arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        found = main(words)
    assert found == status, f"audiosieve {' '.join(words)}\n{out.getvalue()}\n{err.getvalue()}"
    return Done(out.getvalue(), err.getvalue())


def audiosieve_process(*arguments: object) -> Done:
    """Runs the command in a process of its own, as a user does."""
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Done(done.stdout, done.stderr)


def listen_to_ctrl_c() -> None:
    """Restores the default in a new process: those that a shell starts in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Output:
    """The tables of a run, as lists of rows."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getattr__(self, table: str) -> list[dict]:
        if table not in SCORE_TABLES:
            raise AttributeError(table)
        return pq.read_table(self.root / table).to_pylist()

    @property
    def scores(self) -> dict[str, float]:
        return {row["utterance_id"]: row["score"] for row in self.utterances}

    @property
    def frame_scores(self) -> dict[str, list[float]]:
        return self._of_frames("score")

    @property
    def levels(self) -> dict[str, list[float]]:
        return self._of_frames("level_dbfs")

    def anomalies_of(self, utterance_id: str) -> list[dict]:
        """The anomalies of an utterance, the earliest first."""
        found = (row for row in self.anomalies if row["utterance_id"] == utterance_id)
        return sorted(found, key=itemgetter("start_s"))

    def bad_stretches(self, utterance_id: str) -> list[str]:
        """The same as the page and `submit` show them, such as "bad 2.1-3.1 s"."""
        return [
            f"bad {row['start_s']:.1f}-{row['end_s']:.1f} s"
            + (f" ({row['cause'].replace('_', ' ')})" if row["cause"] else "")
            for row in self.anomalies_of(utterance_id)
        ]

    def _of_frames(self, column: str) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for row in sorted(self.frames, key=lambda row: (row["utterance_id"], row["frame"])):
            found.setdefault(row["utterance_id"], []).append(row[column])
        return found
