"""Starts a cluster on this machine: Flink (job server, JobManager, TaskManagers) or Prism, and a pool of Python workers.

    python dataflow/flink/cluster.py flink                   # runs until Ctrl-C; prints the options for `audiosieve score`
    python dataflow/flink/cluster.py prism
    python dataflow/flink/cluster.py flink -- audiosieve score --input /data/speech --output scores
    python dataflow/flink/cluster.py fetch                   # only fetches the programs

The options for the cluster are appended to a command after `--`. The cluster stops when the command ends, and its exit
status is passed on. Missing programs are fetched into `--parts` first: Flink and Beam's job server with Maven, Prism with Go.

Every process listens on this machine only, except Prism, which has no such option. A TaskManager or a worker pool that dies
is restarted. If any other process dies, the cluster stops. All processes end with this program, even if it is killed (on
Linux).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

# A script can import only the modules in its own folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataflow.flink.parts import PartUnavailableError, fetch_flink, fetch_prism
from dataflow.flink.processes import ClusterError, Processes

HERE = Path(__file__).resolve().parent
EXIT_UNAVAILABLE = 3
# Packages that Flink opens by reflection, which Java 17 allows only by option.
OPENED = (
    "java.io",
    "java.lang",
    "java.lang.reflect",
    "java.net",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
    "sun.nio.ch",
)
JAVA = [
    "java",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED),
    # Start each line of the log with the time.
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Addresses of a running cluster.

    Attributes:
        endpoint: HOST:PORT of the job server.
        pages: URL of Flink's web pages and REST interface; None for Prism.
        options: further options that jobs on this cluster should have.
    """

    endpoint: str
    pages: str | None = None
    options: tuple[str, ...] = ()


def start_flink(processes: Processes, options: argparse.Namespace) -> Cluster:
    """Starts Flink and Beam's job server."""
    java = [*JAVA, "-cp", f"{fetch_flink(options.parts)}/*"]
    folder, rest_port = processes.folder, free_port(options.rest_port)
    settings = {"jobmanager.rpc.port": free_port(), "rest.port": rest_port, "io.tmp.dirs": processes.scratch}
    lines = [
        (HERE / "config.yaml").read_text(encoding="utf-8"),
        *(f"{name}: {value}" for name, value in settings.items()),
        "",
    ]
    (folder / "config.yaml").write_text("\n".join(lines), encoding="utf-8")
    processes.scratch.mkdir()
    runtime, configured = "org.apache.flink.runtime", ["--configDir", str(folder)]
    processes.start(
        "job_manager", [*java, "-Xmx384m", f"{runtime}.entrypoint.StandaloneSessionClusterEntrypoint", *configured]
    )
    for number in range(1, options.task_managers + 1):
        memory = ["-Xmx512m", "-XX:MaxDirectMemorySize=320m"]
        command = [*java, *memory, f"{runtime}.taskexecutor.TaskManagerRunner", *configured]
        processes.start(f"task_manager_{number}", command, restart=True)
    job_server = [
        *java,
        "-Xmx384m",
        str(HERE / "JobServer.java"),
        f"--flink-master=localhost:{rest_port}",
        f"--flink-conf-dir={folder}",
        "--job-host=localhost",
        # The job server would open any other port than 0 to other machines.
        "--job-port=0",
        "--artifact-port=0",
        "--expansion-port=0",
        f"--artifacts-dir={processes.scratch / 'artifacts'}",
    ]
    processes.start("job_server", job_server)
    pages = f"http://localhost:{rest_port}"
    processes.wait_for("the TaskManagers", lambda: _num_task_managers(pages) == options.task_managers)
    # Batch mode keeps the results of a stage, so that a later failure does not repeat it.
    return Cluster(
        processes.address("job_server", "JobService started on "), pages, ("--execution_mode_for_batch=BATCH",)
    )


def start_prism(processes: Processes, options: argparse.Namespace) -> Cluster:
    """Starts Prism."""
    program = str(fetch_prism(options.parts) / "prism")
    processes.start("prism", [program, "--job_port=0", "--serve_http=false", "--log_kind=text"])
    return Cluster(processes.address("prism", "endpoint="))


def start_pool(processes: Processes) -> str:
    """Starts a pool of Python workers and returns its address."""
    pool = [sys.executable, str(HERE / "worker_pool.py"), "--port"]
    processes.start("worker_pool", [*pool, "0"], restart=True)
    address = processes.address("worker_pool", "listening at ")
    # After a restart the runner looks for the pool at the same port.
    processes.all["worker_pool"].command = [*pool, address.rpartition(":")[2]]
    return address


STARTERS = {"flink": start_flink, "prism": start_prism}


@contextlib.contextmanager
def running(options: argparse.Namespace) -> Iterator[tuple[Processes, list[str]]]:
    """Runs a cluster while the block runs; yields its processes and the options for jobs on it."""
    folder = options.run or options.parts / f"run-{options.cluster}"
    with exclusive(folder):
        processes = Processes(folder)
        processes.remove_leftovers()
        try:
            cluster = STARTERS[options.cluster](processes, options)
            job_options = [
                "--runner=PortableRunner",
                f"--job_endpoint={cluster.endpoint}",
                "--environment_type=EXTERNAL",
                f"--environment_config={start_pool(processes)}",
                # Keep workers, which have loaded the model, for the next stage, but not for the next attempt (config.yaml).
                "--environment_cache_millis=4000",
                *cluster.options,
            ]
            processes.write_state(options=job_options, pages=cluster.pages)
            yield processes, job_options
        finally:
            processes.stop()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds a lock on a folder while the block runs.

    Raises:
        ClusterError: another cluster holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError(f"a cluster already runs in {folder}; choose another --run") from None
        yield


def _num_task_managers(pages: str) -> int:
    try:
        with urllib.request.urlopen(f"{pages}/overview", timeout=5) as response:
            return int(json.load(response)["taskmanagers"])
    except (OSError, ValueError, KeyError):
        return 0


def free_port(port: int = 0) -> int:
    """Returns a port that is free on loopback: `port`, or any port for 0.

    Raises:
        ClusterError: the port is in use.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ClusterError(f"port {port} is in use; choose another --rest_port, or 0 for any free port") from None
        return int(probe.getsockname()[1])


def run(options: argparse.Namespace, command: Sequence[str]) -> int:
    """Runs a cluster until a signal ends it, or until a command has ended; returns the command's exit status."""
    with running(options) as (processes, job_options):
        print(
            f"ready; the logs are in {processes.folder}; use these options:\n{' '.join(job_options)}", file=sys.stderr
        )
        child = subprocess.Popen([*command, *job_options]) if command else None
        try:
            while child is None or child.poll() is None:
                time.sleep(0.2)
                processes.supervise()
        finally:
            if child and child.poll() is None:
                child.terminate()
                child.wait()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("cluster", choices=[*STARTERS, "fetch"], help="cluster to start; fetch only fetches the programs")
    parts = HERE.parents[1] / "build" / "cluster"
    add("--parts", type=Path, default=parts, help="folder for the fetched programs (default: build/cluster)")
    add("--run", type=Path, help="folder for logs and cluster.json (default: PARTS/run-flink or PARTS/run-prism)")
    add("--task_managers", type=int, default=2, help="number of Flink's TaskManagers, 2 slots each (default: 2)")
    add("--rest_port", type=int, default=8081, help="port of Flink's web pages; 0 for any free port (default: 8081)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    split = argv.index("--") if "--" in argv else len(argv)
    options = _parser().parse_args(argv[:split])
    options.parts = options.parts.resolve()
    options.run = options.run and options.run.resolve()

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Keep a signal ignored that a caller such as nohup ignores on purpose.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        if options.cluster != "fetch":
            return run(options, argv[split + 1 :])
        for fetch in (fetch_flink, fetch_prism):
            print(fetch(options.parts))
    except PartUnavailableError as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except ClusterError as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
