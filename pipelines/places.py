"""Where a command may write: folders of this machine that are apart from what it reads, and that appear as a whole."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.options import UsageError
from transforms.files import absolute, glob_root, has_wildcards, is_local
from transforms.results import Results


def place_of(name: str, asked: str, results: Results) -> Path:
    """Where files go.

    Args:
        name: of the option that says it.
        asked: what it says.
        results: the output that is read.

    Raises:
        UsageError: it is no local folder, or it is not apart from the scores and from the corpus.
    """
    if not is_local(asked):
        raise UsageError(f"--{name} {asked}: must be a folder of this machine; copy it from there")
    place = Path(absolute(asked)).resolve()
    for other, what in ((results.root, "the scores"), (results.source, "the corpus")):
        if not is_local(other):
            continue
        there = Path(other).resolve()
        if place.is_relative_to(there) or there.is_relative_to(place):
            raise UsageError(f"--{name} {asked} and {what} in {other} must lie apart; choose another folder")
    if place.exists() and not place.is_dir():
        raise UsageError(f"--{name} {asked}: is a file; choose a folder")
    return place


def check_apart_in_bucket(name: str, asked: str, results: Results) -> None:
    """Refuses a place in a bucket that is not apart from what is read.

    Raises:
        UsageError: it is not.
    """
    place = f"{asked.rstrip('/')}/"
    source = glob_root(results.source) if has_wildcards(results.source) else results.source
    for other, what in ((results.root, "the scores"), (source, "the corpus")):
        there = f"{other.rstrip('/')}/"
        if place.startswith(there) or there.startswith(place):
            raise UsageError(f"--{name} {asked} and {what} in {other} must lie apart; choose another folder")


def is_empty(place: Path) -> bool:
    """Whether there is nothing in a folder, or no folder."""
    return not place.exists() or not any(place.iterdir())


def load(path: Path) -> dict[str, Any]:
    """A record of ours; empty where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def drafted(place: Path) -> Iterator[Path]:
    """A folder beside the place, which takes its place as a whole, or not at all.

    Raises:
        UsageError: nothing can be written there.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise UsageError(f"--output {place}: cannot write there ({error.strerror})") from error
    try:
        yield draft
        draft.chmod(0o755)
        if place.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent)) / "old"
            place.rename(old)
            draft.rename(place)
            shutil.rmtree(old.parent)
        else:
            draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
