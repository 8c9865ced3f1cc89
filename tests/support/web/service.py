"""Starts the real service in a process of its own, on a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import httpx

# Longest wait for the service. It answers within seconds, but a test must not fail because other programs use the cores.
PATIENCE_S = 300.0
# Ignores proxies of the environment: the service runs on this machine.
_CLIENT: dict[str, Any] = {"trust_env": False, "timeout": PATIENCE_S}


class Server:
    """A running service.

    Attributes:
        url: its address.
        said: line that it printed when it was ready.
        process: its process; with several workers, the one that started them.
        client: HTTP client with its address.
        folder: TMPDIR of the process.
    """

    def __init__(self, said: str, process: subprocess.Popen, errors: IO[str], folder: Path) -> None:
        self.url = url = re.findall(r"http://[^\s;]+", said)[0]
        self.said, self.process, self._errors, self.folder = said, process, errors, folder
        self.client = httpx.Client(base_url=url, **_CLIENT)

    @property
    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def score(self, content: bytes | Path, **parameters: Any) -> httpx.Response:
        """Sends a recording as the body."""
        body = content.read_bytes() if isinstance(content, Path) else content
        return self.client.post("/v1/score", content=body, params=parameters)

    def metric(self, name: str) -> float:
        """Returns the sum of a metric over its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}[ {{]", line))

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Ends the service and returns its exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)


def _inherited() -> dict[str, str]:
    """Returns the environment without the variable that keeps Python from writing `__pycache__` folders.

    With it set, a test could not see that a library compiles code in the service's private folder.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def serving(
    *options: object, environment: Mapping[str, str] | None = None, sabotage: str | None = None
) -> Iterator[Server]:
    """Starts the service for the length of a block, on a free port unless the options name one.

    Args:
        options: options of the command.
        environment: additional environment variables.
        sabotage: Python code that the process runs first.
    """
    program = ["-c", f"{sabotage}\nimport sys\nfrom pipelines.cli import main\nsys.exit(main(sys.argv[1:]))"]
    start = [sys.executable, *(program if sabotage else ["-m", "pipelines.cli"])]
    words = [*start, "serve", "--port", "0", *map(str, options)]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**_inherited(), "TMPDIR": folder, **(environment or {})},
        )
        assert process.stdout is not None
        said = process.stdout.readline()
        if "http://" not in said:
            errors.seek(0)
            raise AssertionError(f"{said}{errors.read()}")
        server = Server(said, process, errors, Path(folder))
        try:
            yield server
        finally:
            if process.poll() is None:
                server.stop(signal.SIGTERM)
            process.stdout.close()
