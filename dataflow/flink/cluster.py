"""A real cluster on this machine: Flink (job server, JobManager, TaskManagers) or Prism, with a pool of Python workers.

    python dataflow/flink/cluster.py flink                   # runs until Ctrl-C; says which options lead to it
    python dataflow/flink/cluster.py prism
    python dataflow/flink/cluster.py flink -- audiosieve score --input /data/speech --output scores
    python dataflow/flink/cluster.py fetch                   # only fetches the parts

With a command behind `--`, the options are added to it, and all is stopped when it has ended; its exit status is ours. What
is missing is fetched first: Flink and Beam's job server by Maven, Prism by Go, into `--parts`. Every part is a process of its
own that listens to this machine only (but for Prism, which cannot be told so). A TaskManager or a pool that dies is started
again; if anything else dies, all is stopped. They end with this program, however that ends.

It is Python, and not a shell script, for the sake of that last sentence.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
START_S, STOP_S = 300, 10
# What dies so soon after its start, so often in a row, would do so for ever.
SOON_S, FALLS = 10, 5
CANNOT_BE_HAD = 3
Found = TypeVar("Found")
# Flink on Java 17; the class path's own logger, with the time.
JAVA = [
    "java",
    *(
        f"--add-opens=java.base/{package}=ALL-UNNAMED"
        for package in (
            "java.io", "java.lang", "java.lang.reflect", "java.net", "java.nio", "java.text", "java.time", "java.util",
            "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch",
        )
    ),
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]  # fmt: skip


class CannotBeHadError(Exception):
    """A part is missing and cannot be fetched."""


class FailedError(Exception):
    """The cluster does not start, or has lost a part that it cannot do without."""


# The parts


def fetch_flink(parts: Path) -> Path:
    """Returns the folder with the class path of Flink and Beam's job server; fetches what `pom.xml` asks for, once."""
    pom = HERE / "pom.xml"
    return _fetched(
        parts / f"flink-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}",
        ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory={}"],
    )  # fmt: skip


def fetch_prism(parts: Path) -> Path:
    """Returns the folder with the program `prism`, of the very version of Beam that is installed; builds it, once."""
    beam = version("apache-beam")
    return _fetched(
        parts / f"prism-{beam}",
        ["go", "install", f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{beam}"],
        {"GOBIN": "{}", "GOFLAGS": "-mod=mod"},
    )


def _fetched(folder: Path, command: list[str], variables: dict[str, str] | None = None) -> Path:
    """Lets a command fill a folder, which is there as a whole or not at all; what was downloaded, its own cache keeps."""
    if folder.is_dir():
        return folder
    if not shutil.which(command[0]):
        raise CannotBeHadError(f"{folder.name} is fetched with {command[0]}, which is not installed here")
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {folder} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as draft:
        goal = str(Path(draft, "parts").resolve())
        environment = {name: text.format(goal) for name, text in (variables or {}).items()}
        done = subprocess.run(
            [word.format(goal) for word in command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            said = next((line for line in done.stdout.splitlines() if "ERROR" in line), done.stdout.strip()[-500:])
            raise CannotBeHadError(f"{folder.name} cannot be fetched: {said}")
        with contextlib.suppress(OSError):  # another was faster
            Path(goal).rename(folder)
    return folder


# The processes


@dataclasses.dataclass
class Process:
    """A part at work.

    Attributes:
        command: that starts it.
        again: whether it is started again where it dies.
        started: when it was, last, by the clock that only goes forward.
        falls: how often in a row it died soon after.
    """

    command: list[str]
    again: bool = False
    running: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    falls: int = 0


class Processes:
    """Processes that are started in order, and stopped in reverse; each with a log in the folder of the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: dict[str, Process] = {}
        self._state: dict[str, Any] = {}

    def start(self, name: str, command: Sequence[str], again: bool = False) -> None:
        """Starts a process."""
        self.all[name] = Process(list(command), again)
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
                # Ctrl-C is ours to answer.
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def forget(self) -> None:
        """Removes what an earlier run has left."""
        for name in ("cluster.json", "config.yaml", *(path.name for path in self.folder.glob("*.log"))):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """Folder for what nobody needs after the run."""
        return self.folder / "scratch"

    def log(self, name: str) -> Path:
        """Where a process says what it does."""
        return self.folder / f"{name}.log"

    def address(self, name: str, said_after: str) -> str:
        """Waits until a process's log says where it listens."""

        def said() -> str | None:
            found = re.search(
                f"{said_after}(localhost:\\d+)", self.log(name).read_text(encoding="utf-8", errors="replace")
            )
            return found[1] if found else None

        return wait_for(name, self, said) or ""

    def look_after(self) -> None:
        """Starts again what has died and may.

        Raises:
            FailedError: something died that must not, or did not even start, or dies again and again.
        """
        for name, process in self.all.items():
            if process.running is None or process.running.poll() is None:
                continue
            how = f"{name} ended with {process.running.returncode}"
            if not process.again or not self._state:
                raise FailedError(f"{how}; see {self.log(name)}")
            process.falls = process.falls + 1 if time.monotonic() - process.started < SOON_S else 0
            if process.falls == FALLS:
                raise FailedError(f"{how}, and so it did {FALLS} times in a row; see {self.log(name)}")
            print(f"{how}; it is started again", file=sys.stderr)
            self._start(name)
            self.write_state()

    def write_state(self, **state: Any) -> None:
        """Writes `cluster.json`, for programs: what is given, and the processes' ids; at once, and whenever they change."""
        self._state = state or self._state
        pids = {name: process.running.pid for name, process in self.all.items() if process.running}
        draft = self.folder / "cluster.draft"
        draft.write_text(json.dumps({**self._state, "processes": pids}, indent=2), encoding="utf-8")
        draft.replace(self.folder / "cluster.json")

    def stop(self) -> None:
        """Ends all processes, with what they started, the last one first."""
        running = [process.running for process in reversed(self.all.values()) if process.running]
        for number, wait_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, STOP_S)):
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(wait_s)
        shutil.rmtree(self.scratch, ignore_errors=True)


def _die_with_parent() -> None:
    """Has Linux end this process when its parent ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


# The clusters


def start_flink(processes: Processes, options: argparse.Namespace) -> Cluster:
    """Starts Flink and Beam's job server for it."""
    java = [*JAVA, "-cp", f"{fetch_flink(options.parts)}/*"]
    folder, rest = processes.folder, _free_port(options.rest_port)
    ours = {"jobmanager.rpc.port": _free_port(), "rest.port": rest, "io.tmp.dirs": processes.scratch}
    lines = [
        (HERE / "config.yaml").read_text(encoding="utf-8"),
        *(f"{name}: {value}" for name, value in ours.items()),
        "",
    ]
    (folder / "config.yaml").write_text("\n".join(lines), encoding="utf-8")
    processes.scratch.mkdir()
    main, configured = "org.apache.flink.runtime", ["--configDir", str(folder)]
    processes.start(
        "job_manager", [*java, "-Xmx384m", f"{main}.entrypoint.StandaloneSessionClusterEntrypoint", *configured]
    )
    for number in range(1, options.task_managers + 1):
        memory = ["-Xmx512m", "-XX:MaxDirectMemorySize=320m"]
        command = [*java, *memory, f"{main}.taskexecutor.TaskManagerRunner", *configured]
        processes.start(f"task_manager_{number}", command, again=True)
    processes.start("job_server", [
        *java, "-Xmx384m", str(HERE / "JobServer.java"), f"--flink-master=localhost:{rest}", f"--flink-conf-dir={folder}",
        # A port that it is told, it opens to other machines.
        "--job-host=localhost", "--job-port=0", "--artifact-port=0", "--expansion-port=0",
        f"--artifacts-dir={processes.scratch / 'artifacts'}",
    ])  # fmt: skip
    pages = f"http://localhost:{rest}"
    wait_for("its TaskManagers", processes, lambda: _task_managers(pages) == options.task_managers)
    # What a stage has made is kept: what fails later does not repeat it, and one task's end is not the other's.
    return Cluster(
        processes.address("job_server", "JobService started on "), pages, ("--execution_mode_for_batch=BATCH",)
    )


def start_prism(processes: Processes, options: argparse.Namespace) -> Cluster:
    """Starts Prism."""
    program = str(fetch_prism(options.parts) / "prism")
    processes.start("prism", [program, "--job_port=0", "--serve_http=false", "--log_kind=text"])
    return Cluster(processes.address("prism", "endpoint="))


def start_pool(processes: Processes) -> str:
    """Starts a pool of Python workers; returns its address."""
    pool = [sys.executable, str(HERE / "worker_pool.py"), "--port"]
    processes.start("worker_pool", [*pool, "0"], again=True)
    address = processes.address("worker_pool", "listening at ")
    # Started again, it is to be found where it was.
    processes.all["worker_pool"].command = [*pool, address.rpartition(":")[2]]
    return address


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where a cluster is to be found.

    Attributes:
        endpoint: of the job server.
        pages: Flink's, which are its REST interface too.
        options: that its job server takes besides, and jobs should have.
    """

    endpoint: str
    pages: str | None = None
    options: tuple[str, ...] = ()


@contextlib.contextmanager
def running(options: argparse.Namespace) -> Iterator[tuple[Processes, list[str]]]:
    """A cluster, while the block runs: its processes, and the options that lead to it."""
    folder = options.run or options.parts / f"run-{options.what}"
    with _alone(folder):
        processes = Processes(folder)
        processes.forget()
        try:
            cluster = {"flink": start_flink, "prism": start_prism}[options.what](processes, options)
            leading = [
                "--runner=PortableRunner", f"--job_endpoint={cluster.endpoint}",
                "--environment_type=EXTERNAL", f"--environment_config={start_pool(processes)}",
                # Workers, which have loaded the model, stay for the next stage; but not for the next attempt (`config.yaml`).
                "--environment_cache_millis=4000",
                *cluster.options,
            ]  # fmt: skip
            processes.write_state(options=leading, pages=cluster.pages)
            yield processes, leading
        finally:
            processes.stop()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedError(f"a cluster runs in {folder} already; choose another --run") from None
        yield


def wait_for(what: str, processes: Processes, there: Callable[[], Found]) -> Found:
    """Waits until something is there, and returns it.

    Raises:
        FailedError: it does not come.
    """
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        processes.look_after()
        if found := there():
            return found
        time.sleep(0.2)
    raise FailedError(f"{what} did not start within {START_S} s; see the logs in {processes.folder}")


def _task_managers(pages: str) -> int:
    try:
        with urllib.request.urlopen(f"{pages}/overview", timeout=5) as response:
            return int(json.load(response)["taskmanagers"])
    except (OSError, ValueError, KeyError):
        return 0


def _free_port(asked: int = 0) -> int:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", asked))
        except OSError:
            raise FailedError(f"port {asked} is taken; choose another --rest_port, 0 for any") from None
        return int(taken.getsockname()[1])


def run(options: argparse.Namespace, command: Sequence[str]) -> int:
    """Runs a cluster until it is ended, or until a command has ended, whose exit status it returns."""
    with running(options) as (processes, leading):
        print(f"ready; logs are in {processes.folder}; these options lead to it:\n{' '.join(leading)}", file=sys.stderr)
        asked = subprocess.Popen([*command, *leading]) if command else None
        try:
            while asked is None or asked.poll() is None:
                time.sleep(0.2)
                processes.look_after()
        finally:
            if asked and asked.poll() is None:
                asked.terminate()
                asked.wait()
    return asked.returncode if asked.returncode >= 0 else 128 - asked.returncode


def main(argv: Sequence[str]) -> int:
    """Parses the command line and does what it says; returns the exit status."""
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("what", choices=["flink", "prism", "fetch"], help="what to start; fetch starts nothing")
    add(
        "--parts",
        type=Path,
        default=HERE.parent.parent / "build" / "cluster",
        help="folder for what is fetched (build/cluster)",
    )
    add(
        "--run",
        type=Path,
        help="folder for logs and cluster.json, which says options and process ids (PARTS/run-...)",
    )
    add("--task_managers", type=int, default=2, help="of Flink, with 2 slots each (2)")
    add("--rest_port", type=int, default=8081, help="of Flink's pages; 0 for any (8081)")
    options = parser.parse_args(argv[:split])
    options.parts = options.parts.resolve()
    options.run = options.run and options.run.resolve()

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Who started it to be deaf, as nohup does, has a reason.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        if options.what != "fetch":
            return run(options, argv[split + 1 :])
        for fetch in (fetch_flink, fetch_prism):
            print(fetch(options.parts))
    except CannotBeHadError as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return CANNOT_BE_HAD
    except FailedError as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
