"""Reads dataflow/Dockerfile, and runs its steps in a folder and a virtual environment without Docker."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from dockerfile_parse import DockerfileParser

from tests.support.paths import ROOT

DOCKERFILE = ROOT / "dataflow" / "Dockerfile"


@dataclasses.dataclass
class Stage:
    """A stage of the Dockerfile: a FROM and the instructions after it.

    Attributes:
        image: base image, or the name of another stage.
        steps: instructions and their values, in order.
    """

    image: str
    steps: list[tuple[str, str]]


def stages() -> dict[str, Stage]:
    """Returns the stages of the Dockerfile by name, in order."""
    found: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    name = ""
    for line in DockerfileParser(path=str(DOCKERFILE)).structure:
        instruction, value = line["instruction"], line["value"]
        if instruction == "COMMENT":
            continue
        if instruction == "ARG" and not found:
            key, _, default = value.partition("=")
            arguments[key] = default
        elif instruction == "FROM":
            image, _, name = value.partition(" AS ")
            for key, default in arguments.items():
                image = image.replace(f"${{{key}}}", default)
            found[name] = Stage(image, [])
        else:
            found[name].steps.append((instruction, value))
    return found


def lineage(target: str) -> list[tuple[str, str]]:
    """Returns all steps of a target, those of its base stages first."""
    there = stages()
    steps: list[tuple[str, str]] = []
    while target in there:
        steps = there[target].steps + steps
        target = there[target].image
    return steps


def environment(target: str) -> dict[str, str]:
    """Returns the variables that the ENV instructions of a target set."""
    found: dict[str, str] = {}
    for instruction, value in lineage(target):
        if instruction == "ENV":
            found |= dict(word.split("=", 1) for word in shlex.split(value))
    return found


def copied(target: str) -> list[tuple[str | None, list[str], str]]:
    """Returns the COPY instructions of a target: source stage (None for the context), sources, destination."""
    found = []
    for instruction, value in lineage(target):
        if instruction == "COPY":
            words = shlex.split(value)
            source = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
            found.append((source, words[:-1], words[-1]))
    return found


def context() -> set[str]:
    """Returns the files that .dockerignore does not exclude. As in Docker, the last matching line counts."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    kept = set()
    for name in listed.stdout.decode().splitlines():
        parents = [name, *(str(parent) for parent in Path(name).parents)]
        ignored = False
        for pattern in patterns:
            rule = pattern.removeprefix("!")
            if any(fnmatch.fnmatch(place, rule) or fnmatch.fnmatch(f"/{place}", rule) for place in parents):
                ignored = not pattern.startswith("!")
        if not ignored:
            kept.add(name)
    return kept


class Emulation:
    """Runs the COPY and RUN steps of a target, with a folder as the image's root and a venv as its Python.

    Compilers are not on the PATH, as in the image. Files from images that are not available are left out.
    """

    def __init__(self, root: Path) -> None:
        """Creates the venv in an empty folder."""
        self.root = root
        self.bin = root / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", root / "venv"], check=True)

    def build(self, target: str) -> None:
        """Builds a target, after the stages that it copies from."""
        for source, _, _ in copied(target):
            if source in stages() and lineage(source):
                self._run_steps(source)
        self._run_steps(target)

    def _run_steps(self, target: str) -> None:
        folder = self.root
        for instruction, value in lineage(target):
            if instruction == "WORKDIR":
                folder = self._place(value)
                folder.mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY":
                self._copy(value, folder)
            elif instruction == "RUN":
                self.run(value.replace(" /wheels", f" {self._place('/wheels')}"), folder, environment(target))

    def _copy(self, value: str, folder: Path) -> None:
        words = shlex.split(value)
        if words[0].startswith("--from="):
            return  # already in the same root, or in an unavailable image
        *sources, last = words
        for name in context():
            for source in sources:
                if name == source or name.startswith(f"{source}/"):
                    place = folder / (Path(name).name if name == source else f"{last}{name.removeprefix(source)}")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(ROOT / name, place)

    def run(self, command: str, folder: Path | None = None, variables: dict[str, str] | None = None) -> str:
        """Runs a command with the venv and a few basic tools on the PATH; returns its stdout."""
        tools = self.root / "tools"
        tools.mkdir(exist_ok=True)
        for name in ("bash", "sh", "ls", "rm", "env"):
            if not (tools / name).exists():
                (tools / name).symlink_to(shutil.which(name) or "")
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
        given = {name: value for name, value in (variables or {}).items() if name not in ("PATH", "PIP_NO_CACHE_DIR")}
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=folder or self.root,
            env={**kept, **given, "PATH": f"{self.bin}:{tools}", "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def _place(self, path: str) -> Path:
        return self.root / path.lstrip("/")
