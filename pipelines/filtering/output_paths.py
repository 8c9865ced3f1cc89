"""Where a command may write: apart from what it reads."""

from __future__ import annotations

from pathlib import Path

from pipelines.common.errors import UsageError
from pipelines.filtering.folders import BucketFolder, Folder, LocalFolder
from transforms.output.results import Results
from transforms.storage.files import absolute, glob_root, has_wildcards, is_local


def folder_of(option: str, asked: str, results: Results) -> Folder:
    """Where files go.

    Args:
        option: that says it.
        asked: what it says.
        results: the output that is read.

    Raises:
        UsageError: it is a file, or not apart from the scores and from the corpus.
    """
    place = _resolved(asked)
    source = results.source
    if not is_local(source) and has_wildcards(source):
        source = glob_root(source)
    for other, what in ((results.root, "the scores"), (source, "the corpus")):
        if overlap(place, _resolved(other)):
            raise UsageError(f"--{option} {asked} and {what} in {other} must lie apart; choose another folder")
    if not is_local(asked):
        return BucketFolder(place, option)
    if Path(place).exists() and not Path(place).is_dir():
        raise UsageError(f"--{option} {asked}: is a file; choose a folder")
    return LocalFolder(place, option)


def overlap(one: str, other: str) -> bool:
    """Whether one of two folders is the other, or lies within it."""
    one, other = f"{one.rstrip('/')}/", f"{other.rstrip('/')}/"
    return one.startswith(other) or other.startswith(one)


def _resolved(place: str) -> str:
    return str(Path(absolute(place)).resolve()) if is_local(place) else place.rstrip("/")
