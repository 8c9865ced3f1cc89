"""Runs several workers of the service behind nginx: starts, restarts and stops them."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pipelines.common.errors import UsageError
from pipelines.service.problems import MEDIA_TYPE, Problem
from pipelines.service.settings import ServeOptions

# Options that are passed on to each worker unchanged.
PASSED_ON = (
    "model",
    "threads",
    "decoders",
    "max_wait_ms",
    "batch_size",
    "batch_frames",
    "queue",
    "queue_frames",
    "max_mb",
    "max_s",
    "max_silence_s",
    "min_kb_s",
    "hosts",
)
# Shortest time between two starts of a worker, in seconds: a worker that dies at its start would die again.
RESTART_PAUSE_S = 10.0
# Responses of nginx itself.
_PROBLEMS = (
    Problem(404, "not_found", "Not Found"),
    Problem(
        413, "upload_too_large", "the request has more bytes than the service accepts; cut the recording into parts"
    ),
    Problem(429, "too_many_requests", "too many requests from your address; try again later", retry_after_s=1),
    Problem(502, "no_worker", "no worker can be reached; try again later", retry_after_s=5),
    Problem(504, "worker_timeout", "the worker did not respond in time"),
)
# Smallest limit on the scoring requests in progress from one address.
MIN_CONNECTIONS = 64
_PR_SET_PDEATHSIG = 1


def serve_behind_nginx(options: ServeOptions) -> int:
    """Serves until SIGTERM or SIGINT.

    Args:
        options: options of `audiosieve serve`.

    Returns:
        The exit status: 1 if nginx exits by itself.

    Raises:
        UsageError: nginx is not installed, or nginx or a worker does not start.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise UsageError(
            f"--workers {options.workers} needs nginx, which is not installed (Debian: apt-get install nginx)"
        )
    port, *worker_ports = _ports(options)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audiosieve-nginx-")))
        # If root starts nginx, its processes run as nobody and must be able to enter their folders within this one.
        folder.chmod(0o711)
        (folder / "nginx.conf").write_text(configuration(options, port, worker_ports, folder), encoding="utf-8")
        stop = _StopRequest()
        (folder / "workers").mkdir(mode=0o700)
        workers = [_Worker(options, worker_port, folder / "workers") for worker_port in worker_ports]
        stack.callback(_stop_workers, workers)
        for worker in workers:
            worker.wait_until_ready()
        nginx = subprocess.Popen(
            [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
            preexec_fn=_end_with_parent,
            process_group=0,
        )
        # The stack stops nginx before the workers: nginx accepts nothing more, and waits for their responses.
        stack.callback(_stop, nginx, signal.SIGQUIT)
        _wait_until_listening(options.host, port, nginx)
        print(
            f"{workers[0].model_id} behind nginx on {_url(options.host, port)}; workers on ports "
            f"{', '.join(map(str, worker_ports))}, each with its own /metrics",
            flush=True,
        )
        while not stop.received:
            time.sleep(0.1)
            if nginx.poll() is not None:
                print(f"audiosieve serve: nginx exited with status {nginx.returncode}", file=sys.stderr)
                return 1
            for worker in workers:
                worker.restart_if_dead()
    return 0


def configuration(options: ServeOptions, port: int, worker_ports: Sequence[int], folder: Path) -> str:
    """Returns the content of `nginx.conf`, with all names in {{ }} replaced.

    Args:
        options: options of `audiosieve serve`.
        port: port that nginx listens on.
        worker_ports: ports of the workers.
        folder: folder for all files that nginx writes.
    """
    text = (files("pipelines.service") / "nginx.conf").read_text(encoding="utf-8")
    limited = options.rate > 0
    for name, value in {
        "folder": str(folder),
        "listen": f"{_bracketed(options.host)}:{port}",
        "max_bytes": str(int(options.max_mb * (1 << 20))),
        "silence": f"{max(1, round(options.max_silence_s * 1000))}ms",
        "workers": "\n        ".join(
            f"server 127.0.0.1:{worker_port} max_fails=1 fail_timeout=2s;" for worker_port in worker_ports
        ),
        "rate_zone": f"limit_req_zone $binary_remote_addr zone=clients:10m rate={options.rate}r/s;" if limited else "",
        "rate_limit": (
            f"limit_req zone=clients burst={2 * options.rate} nodelay;\n            limit_req_status 429;"
            if limited
            else ""
        ),
        "connections_zone": "limit_conn_zone $binary_remote_addr zone=uploads:10m;" if limited else "",
        "connections_limit": (
            f"limit_conn uploads {max(MIN_CONNECTIONS, 2 * options.rate)};\n            limit_conn_status 429;"
            if limited
            else ""
        ),
        "problems": "\n        ".join(map(_location, _PROBLEMS)),
    }.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def _location(problem: Problem) -> str:
    """Returns the location of `nginx.conf` that responds with a problem."""
    retry = f"add_header Retry-After {problem.retry_after_s} always; " if problem.retry_after_s else ""
    body = json.dumps(problem.as_dict())
    return (
        f"location @{problem.status} {{ internal; client_max_body_size 0; default_type {MEDIA_TYPE}; {retry}"
        f"return {problem.status} '{body}'; }}"
    )


class _StopRequest:
    """Handles SIGTERM and SIGINT.

    Attributes:
        received: whether one of the signals has arrived.
    """

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        self.received = True


@dataclasses.dataclass
class _Worker:
    """A process of the service, which is replaced if it dies.

    Attributes:
        options: options of `audiosieve serve`.
        port: port that it listens on.
        folder: folder for its temporary files, which remain if it is killed.
        model_id: id of its model; empty until it is ready.
    """

    options: ServeOptions
    port: int
    folder: Path
    model_id: str = ""

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        passed_on = [f"--{name}={_text(getattr(self.options, name))}" for name in PASSED_ON]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipelines.cli",
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                str(self.port),
                *passed_on,
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(self.folder)},
            preexec_fn=_end_with_parent,
            process_group=0,
        )
        self._started_s = time.monotonic()

    def wait_until_ready(self) -> None:
        """Waits for the line that the worker prints when it is ready.

        Raises:
            UsageError: the worker exited.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise UsageError(f"the worker on port {self.port} did not start; its error is above")
        self.model_id = line.split()[0]

    def restart_if_dead(self) -> None:
        """Starts the worker again if it has died, but not within `RESTART_PAUSE_S` of its last start."""
        if self.process.poll() is None or time.monotonic() - self._started_s < RESTART_PAUSE_S:
            return
        print(
            f"audiosieve serve: the worker on port {self.port} exited with status {self.process.returncode}; restarting it",
            file=sys.stderr,
            flush=True,
        )
        if self.process.stdout:
            self.process.stdout.close()
        self._start()


def _text(value: object) -> str:
    """Returns the value of an option as it stands on a command line."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _stop_workers(workers: Sequence[_Worker]) -> None:
    """Stops all workers at the same time and waits for them."""
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.process.wait()


def _stop(process: subprocess.Popen, stop_signal: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(stop_signal)
    process.wait()


def _end_with_parent() -> None:
    """Makes Linux send SIGTERM to this child process when its parent ends, even if the parent is killed."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _ports(options: ServeOptions) -> list[int]:
    """Returns the port of nginx and those of the workers: consecutive ones, or any free ones for `--port 0`."""
    count = options.workers + 1
    if options.port:
        return list(range(options.port, options.port + count))
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [bound.getsockname()[1] for bound in sockets]


def _wait_until_listening(host: str, port: int, nginx: subprocess.Popen) -> None:
    """Waits until nginx listens.

    Raises:
        UsageError: nginx exited.
    """
    while True:
        if nginx.poll() is not None:
            raise UsageError(f"nginx exited with status {nginx.returncode} at its start; its error is above")
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.05)


def _url(host: str, port: int) -> str:
    return f"http://{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    """Returns a host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host
