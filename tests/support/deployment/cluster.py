"""Helpers to start a cluster on this machine, score on it, and compare outputs."""

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

from tests.support.paths import ROOT

T = TypeVar("T")


def wait_for(probe: Callable[[], T | None], seconds: float = 300) -> T:
    """Calls a function until it returns something other than None, and returns that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (result := probe()) is not None:
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def score(corpus: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """Starts `audiosieve score` in a separate process, as a user does."""
    words = [sys.executable, "-m", "pipelines.cli", "score", "--input", corpus, "--output", output, *options]
    return subprocess.Popen(
        [str(word) for word in words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def done(run: subprocess.Popen[str], status: int = 0) -> str:
    """Waits for the end of a run, checks its exit status and returns its output."""
    out, err = run.communicate(timeout=900)
    assert run.returncode == status, f"{out}\n{err}"
    return out + err


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        folder: folder of its logs and `cluster.json`.
    """

    folder: Path

    @property
    def state(self) -> dict[str, Any]:
        """The current content of `cluster.json`."""
        return json.loads((self.folder / "cluster.json").read_text())

    @property
    def options(self) -> list[str]:
        """The options that lead a job to it."""
        return self.state["options"]

    def get(self, path: str) -> dict[str, Any]:
        """Returns an answer of Flink's REST interface."""
        with urllib.request.urlopen(f"{self.state['pages']}{path}", timeout=30) as response:
            return json.load(response)


def start(command: list[str], folder: Path) -> tuple[Cluster, subprocess.Popen[str]]:
    """Starts a cluster and waits until it is ready."""
    process = subprocess.Popen(
        [*command, "--run", str(folder)], stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent
    )

    def ready() -> bool | None:
        assert process.poll() is None, process.stderr.read()
        return True if (folder / "cluster.json").exists() else None

    wait_for(ready)
    return Cluster(folder), process


def die_with_parent() -> None:
    """Makes the cluster end with the tests, even if they are killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def stop(process: subprocess.Popen[str]) -> None:
    """Stops a cluster."""
    process.terminate()
    process.communicate(timeout=60)


def children(pid: int) -> list[int]:
    """Returns the ids of a process's running children."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def opened(pid: int) -> list[str]:
    """Returns the paths of a process's open files and `socket:[INODE]` of its sockets; empty if it has just ended."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # closed in the meantime
                found.append(str(link.readlink()))
    return found


def listener(port: int) -> str:
    """Returns the socket, as in `opened`, of the process that listens at a port."""
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text(encoding="utf-8").splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                return f"socket:[{words[9]}]"
    raise AssertionError(f"no process listens at {port}")
