"""Several workers of the service behind nginx: started, looked after, and ended together."""

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
from types import FrameType

from pipelines.common.errors import UsageError
from pipelines.service.problems import MEDIA_TYPE, Problem
from pipelines.service.settings import ServeOptions

# Options that each worker gets as they are.
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
)
# Between two starts of a worker: what dies at once would die again.
PAUSE_S = 10.0
# nginx's own answers.
_PROBLEMS = (
    Problem(404, "not_found", "Not Found"),
    Problem(413, "upload_too_large", "the request has more bytes than the service takes; cut the recording"),
    Problem(429, "too_many_requests", "too many requests from your address; try again later", retry_after_s=1),
    Problem(502, "no_worker", "no worker can be reached; try again later", retry_after_s=5),
    Problem(504, "worker_timeout", "the worker did not answer in time"),
)
_PR_SET_PDEATHSIG = 1


def serve_behind_nginx(options: ServeOptions) -> int:
    """Serves until SIGTERM or SIGINT.

    Args:
        options: of `audiosieve serve`.

    Returns:
        The exit status: 1 if nginx ended by itself.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise UsageError(
            f"--workers {options.workers} need nginx, which is not installed (Debian: apt-get install nginx)"
        )
    port, *ports = _ports(options)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audiosieve-nginx-")))
        # Started by root, nginx works as nobody, in folders of its own within this one.
        folder.chmod(0o711)
        (folder / "nginx.conf").write_text(configuration(options, port, ports, folder), encoding="utf-8")
        ends = _Ends()
        (folder / "workers").mkdir(mode=0o700)
        workers = [_Worker(options, each, folder / "workers") for each in ports]
        stack.callback(_end_all, workers)
        for worker in workers:
            worker.wait_until_it_listens()
        nginx = subprocess.Popen(
            [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
            preexec_fn=_end_with_parent,
            process_group=0,
        )
        # Before the workers: it takes nothing more, and waits for what they have.
        stack.callback(_end, nginx, signal.SIGQUIT)
        _wait_for(options.host, port, nginx)
        print(
            f"{workers[0].said} behind nginx on {_url(options.host, port)}; workers on ports {', '.join(map(str, ports))}, each"
            " with its own /metrics",
            flush=True,
        )
        while not ends.asked:
            time.sleep(0.1)
            if nginx.poll() is not None:
                print(f"audiosieve serve: nginx ended ({nginx.returncode})", file=sys.stderr)
                return 1
            for worker in workers:
                worker.look_after()
    return 0


def configuration(options: ServeOptions, port: int, workers: Sequence[int], folder: Path) -> str:
    """`nginx.conf`, filled in.

    Args:
        options: of `audiosieve serve`.
        port: that nginx listens on.
        workers: their ports.
        folder: for whatever nginx writes.
    """
    text = (files("pipelines.service") / "nginx.conf").read_text(encoding="utf-8")
    host = f"[{options.host}]" if ":" in options.host else options.host
    limited = options.rate > 0
    for name, value in {
        "folder": str(folder),
        "listen": f"{host}:{port}",
        "max_bytes": str(int(options.max_mb * (1 << 20))),
        "silence": f"{max(1, round(options.max_silence_s * 1000))}ms",
        "workers": "\n        ".join(f"server 127.0.0.1:{each} max_fails=1 fail_timeout=2s;" for each in workers),
        "rate_zone": f"limit_req_zone $binary_remote_addr zone=clients:10m rate={options.rate}r/s;" if limited else "",
        "rate_limit": (
            f"limit_req zone=clients burst={2 * options.rate} nodelay;\n            limit_req_status 429;"
            if limited
            else ""
        ),
        "problems": "\n        ".join(map(_location, _PROBLEMS)),
    }.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def _location(problem: Problem) -> str:
    retry = f"add_header Retry-After {problem.retry_after_s} always; " if problem.retry_after_s else ""
    body = json.dumps(problem.as_dict())
    return (
        f"location @{problem.status} {{ internal; client_max_body_size 0; default_type {MEDIA_TYPE}; {retry}"
        f"return {problem.status} '{body}'; }}"
    )


class _Ends:
    """Whether somebody asked for the end."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- the signature of a handler
        self.asked = True


@dataclasses.dataclass
class _Worker:
    """A process of the service, and the next one if it dies.

    Attributes:
        options: of the command.
        port: that it listens on.
        folder: for what it leaves behind if it is killed.
        said: the model, as it said itself.
    """

    options: ServeOptions
    port: int
    folder: Path
    said: str = ""

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        words = [f"--{name}={getattr(self.options, name)}" for name in PASSED_ON]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "serve", "--host", "127.0.0.1", "--port", str(self.port), *words],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(self.folder)},
            preexec_fn=_end_with_parent,
            process_group=0,
        )
        self._started = time.monotonic()

    def wait_until_it_listens(self) -> None:
        """Reads what it says when it does.

        Raises:
            UsageError: it did not come so far; it said why.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise UsageError(f"the worker on port {self.port} did not start")
        self.said = line.split()[0]

    def look_after(self) -> None:
        """Starts it again if it died."""
        if self.process.poll() is None:
            return
        if time.monotonic() - self._started < PAUSE_S:
            return
        print(
            f"audiosieve serve: the worker on port {self.port} ended ({self.process.returncode}); it is started again",
            file=sys.stderr,
            flush=True,
        )
        if self.process.stdout:
            self.process.stdout.close()
        self._start()


def _end_all(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.process.wait()


def _end(process: subprocess.Popen, how: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(how)
    process.wait()


def _end_with_parent() -> None:
    """In a child, before it becomes what it is to be: it gets SIGTERM if its parent is killed."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _ports(options: ServeOptions) -> list[int]:
    """Nginx's and the workers', one after the other; any that are free for 0."""
    if options.port:
        return list(range(options.port, options.port + options.workers + 1))
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(options.workers + 1)]
        return [each.getsockname()[1] for each in bound]


def _wait_for(host: str, port: int, nginx: subprocess.Popen) -> None:
    """Waits until nginx listens.

    Raises:
        UsageError: it does not.
    """
    while True:
        if nginx.poll() is not None:
            raise UsageError(f"nginx does not start ({nginx.returncode}); it said why")
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.05)


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
