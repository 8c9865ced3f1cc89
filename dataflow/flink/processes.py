"""Starts, supervises and stops the processes of a cluster."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

# Longest time for the start of the cluster and for the end of a process after a signal, in seconds.
START_S, STOP_S = 300, 10
# A process that ends within QUICK_DEATH_S of its start MAX_QUICK_DEATHS times in a row is not restarted again.
QUICK_DEATH_S, MAX_QUICK_DEATHS = 10, 5
T = TypeVar("T")


class ClusterError(Exception):
    """The cluster cannot start, or has lost a process that it needs."""


@dataclasses.dataclass
class Process:
    """One process of the cluster.

    Attributes:
        command: program and arguments.
        restart: whether to start it again when it dies.
        running: the process; None before its first start.
        started: time of the last start, by the monotonic clock, in seconds.
        quick_deaths: number of times in a row that it died soon after its start.
    """

    command: list[str]
    restart: bool = False
    running: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_deaths: int = 0


class Processes:
    """The processes of a cluster, stopped in reverse order of their start.

    Args:
        folder: folder for their logs and `cluster.json`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: dict[str, Process] = {}
        self._state: dict[str, Any] = {}

    def start(self, name: str, command: Sequence[str], restart: bool = False) -> None:
        """Starts a process.

        Args:
            name: name of the process and of its log.
            command: program and arguments.
            restart: whether to start it again when it dies.
        """
        self.all[name] = Process(list(command), restart)
        self._start(name)

    def _start(self, name: str) -> None:
        process = self.all[name]
        process.started = time.monotonic()
        with self.log(name).open("ab") as log:
            process.running = subprocess.Popen(
                process.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                # Ctrl-C must reach this program only, which then stops the processes in order.
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def remove_leftovers(self) -> None:
        """Removes the files of an earlier cluster in the same folder."""
        for name in ("cluster.json", "config.yaml", *(path.name for path in self.folder.glob("*.log"))):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """Folder that is deleted when the cluster stops."""
        return self.folder / "scratch"

    def log(self, name: str) -> Path:
        """Returns the path of a process's log."""
        return self.folder / f"{name}.log"

    def address(self, name: str, prefix: str) -> str:
        """Waits until a process logs the address that it listens at, and returns it.

        Args:
            name: name of the process.
            prefix: regular expression for the text before the address in the log.

        Raises:
            ClusterError: the process ends, or logs no address in time.
        """

        def logged() -> str | None:
            match = re.search(f"{prefix}(localhost:\\d+)", self.log(name).read_text(encoding="utf-8", errors="replace"))
            return match[1] if match else None

        return self.wait_for(name, logged) or ""

    def wait_for(self, name: str, probe: Callable[[], T]) -> T:
        """Calls a function until it returns something true, and returns that.

        Args:
            name: name of the awaited process, for the error.
            probe: function to call.

        Raises:
            ClusterError: a process ends, or the time runs out.
        """
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.supervise()
            if result := probe():
                return result
            time.sleep(0.2)
        raise ClusterError(f"{name} did not start within {START_S} s; see the logs in {self.folder}")

    def supervise(self) -> None:
        """Restarts the processes that died and may be restarted.

        Raises:
            ClusterError: a process died that may not be restarted, died before the cluster was ready, or keeps dying.
        """
        for name, process in self.all.items():
            if process.running is None or process.running.poll() is None:
                continue
            status = f"{name} ended with status {process.running.returncode}"
            if not process.restart or not self._state:
                raise ClusterError(f"{status}; see {self.log(name)}")
            quick = time.monotonic() - process.started < QUICK_DEATH_S
            process.quick_deaths = process.quick_deaths + 1 if quick else 0
            if process.quick_deaths == MAX_QUICK_DEATHS:
                raise ClusterError(f"{status} {MAX_QUICK_DEATHS} times in a row; see {self.log(name)}")
            print(f"{status}; restarting it", file=sys.stderr)
            self._start(name)
            self.write_state()

    def write_state(self, **state: Any) -> None:
        """Writes `cluster.json` for other programs: the given values and the process ids.

        Args:
            **state: values to write, now and after each restart; without any, those of the last call.
        """
        self._state = state or self._state
        pids = {name: process.running.pid for name, process in self.all.items() if process.running}
        draft = self.folder / "cluster.draft"
        draft.write_text(json.dumps({**self._state, "processes": pids}, indent=2), encoding="utf-8")
        draft.replace(self.folder / "cluster.json")

    def stop(self) -> None:
        """Stops all processes and their children, the last one first."""
        running = [process.running for process in reversed(self.all.values()) if process.running]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_S)
        shutil.rmtree(self.scratch, ignore_errors=True)


def _die_with_parent() -> None:
    """Makes Linux kill this process when its parent ends, even if the parent is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
