"""A cluster of real processes on this machine, runs on it, and their outputs compared."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from pipelines import notebook
from tests.support.paths import ROOT
from transforms.schemas import SCORE_TABLES

TOLERANCE = 1e-3

Found = TypeVar("Found")


def wait_for(there: Callable[[], Found | None], seconds: float = 300) -> Found:
    """Waits until something is there, and returns it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (found := there()) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def score(corpus: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """Starts `audiosieve score`, in a process of its own, as a user does."""
    words = [sys.executable, "-m", "pipelines.cli", "score", "--input", corpus, "--output", output, *options]
    return subprocess.Popen(
        [str(word) for word in words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def done(run: subprocess.Popen[str], status: int = 0) -> str:
    """Waits for the end of a run, checks its exit status and returns what it printed."""
    out, err = run.communicate(timeout=900)
    assert run.returncode == status, f"{out}\n{err}"
    return out + err


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster that runs.

    Attributes:
        folder: of its logs and `cluster.json`.
    """

    folder: Path

    @property
    def state(self) -> dict[str, Any]:
        """What `cluster.json` says now."""
        return json.loads((self.folder / "cluster.json").read_text())

    @property
    def options(self) -> list[str]:
        """That lead to it."""
        return self.state["options"]

    def get(self, path: str) -> dict[str, Any]:
        """What Flink's REST interface answers."""
        with urllib.request.urlopen(f"{self.state['pages']}{path}", timeout=30) as response:
            return json.load(response)


def start(command: list[str], folder: Path) -> tuple[Cluster, subprocess.Popen[str]]:
    """Starts a cluster, and waits until it can be used."""
    process = subprocess.Popen(
        [*command, "--run", str(folder)], stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent
    )

    def ready() -> bool | None:
        assert process.poll() is None, process.stderr.read()
        return True if (folder / "cluster.json").exists() else None

    wait_for(ready)
    return Cluster(folder), process


def die_with_parent() -> None:
    """Has the cluster end when the tests end, however they do."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def stop(process: subprocess.Popen[str]) -> None:
    """Ends a cluster."""
    process.terminate()
    process.communicate(timeout=60)


def table(output: Path, name: str) -> pa.Table:
    """A table of an output, only what counts, in an order of its own."""
    found = notebook.open_run(output).dataset(name).to_table()
    keys = ["utterance_id", "frame", "start_s"]
    return found.sort_by([(key, "ascending") for key in keys if key in found.column_names])


def assert_same(output: Path, expected: Path) -> None:
    """Two outputs have the same rows, none lost and none doubled: scores within the tolerance, all else equal."""
    for name in SCORE_TABLES:
        ours, theirs = table(output, name), table(expected, name)
        assert ours.num_rows == theirs.num_rows > 0, name
        for column in theirs.column_names:
            one, other = ours[column], theirs[column]
            if "score" in column:
                worst = max(abs(a - b) for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True))
                assert worst <= TOLERANCE, f"{name}.{column}: {worst}"
            else:
                assert one.equals(other), f"{name}.{column}"


def children(pid: int) -> list[int]:
    """Process ids of what a process started and has not ended."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def opened(pid: int) -> list[str]:
    """What a process has open: paths of files, and `socket:[INODE]`; nothing where it has just ended."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # closed meanwhile
                found.append(str(link.readlink()))
    return found


def listener(port: int) -> str:
    """What stands for a port in `opened` of the process that listens at it."""
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text(encoding="utf-8").splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                return f"socket:[{words[9]}]"
    raise AssertionError(f"nobody listens at {port}")
