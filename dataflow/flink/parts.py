"""Fetches the programs of a cluster: Flink and Beam's job server with Maven, Prism with Go."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")


class PartUnavailableError(Exception):
    """A program is missing and cannot be fetched."""


def fetch_flink(parts: Path) -> Path:
    """Returns the folder with the jars of Flink and Beam's job server; fetches the dependencies in `pom.xml` once.

    Args:
        parts: folder that holds all fetched parts.

    Raises:
        PartUnavailableError: Maven is not installed, or failed.
    """
    return fetch(
        parts / f"flink-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}",
        [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(POM),
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            "-DoutputDirectory={}",
        ],
    )


def fetch_prism(parts: Path) -> Path:
    """Returns the folder with the program `prism`, in the installed version of Beam; builds it once.

    Args:
        parts: folder that holds all fetched parts.

    Raises:
        PartUnavailableError: Go is not installed, or failed.
    """
    beam = version("apache-beam")
    return fetch(
        parts / f"prism-{beam}",
        ["go", "install", f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{beam}"],
        {"GOBIN": "{}", "GOFLAGS": "-mod=mod"},
    )


def fetch(folder: Path, command: list[str], variables: dict[str, str] | None = None) -> Path:
    """Fills a folder with a command unless the folder exists. The folder appears complete or not at all.

    Args:
        folder: folder to fill.
        command: command and arguments; `{}` stands for the folder to write to.
        variables: environment variables to add; `{}` stands for the same folder.

    Raises:
        PartUnavailableError: the program is not installed, or it failed.
    """
    if folder.is_dir():
        return folder
    if not shutil.which(command[0]):
        raise PartUnavailableError(f"{command[0]} is not installed, and is needed to fetch {folder.name}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {folder} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as scratch:
        target = str(Path(scratch, "parts").resolve())
        environment = {name: text.format(target) for name, text in (variables or {}).items()}
        done = subprocess.run(
            [word.format(target) for word in command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), done.stdout.strip()[-500:])
            raise PartUnavailableError(f"{command[0]} failed to fetch {folder.name}: {reason}")
        with contextlib.suppress(OSError):  # another process has just made the same folder
            Path(target).rename(folder)
    return folder
