"""Checks that the folders that a command writes to do not overlap with those that it reads."""

from __future__ import annotations

from pathlib import Path

from pipelines.common.errors import UsageError
from pipelines.filtering.folders import BucketFolder, Folder, LocalFolder
from transforms.output.results import Results
from transforms.storage.files import absolute, glob_root, has_wildcards, is_local


def folder_of(option: str, value: str, results: Results) -> Folder:
    """Returns the folder that an option names.

    Args:
        option: name of the option, without dashes.
        value: value of the option.
        results: the output that the command reads.

    Raises:
        UsageError: the folder is a file, or overlaps with the output or its corpus.
    """
    uri = _resolved(value)
    source = results.source
    if not is_local(source) and has_wildcards(source):
        source = glob_root(source)
    for other, title in ((results.root, "the scores"), (source, "the corpus")):
        if overlap(uri, _resolved(other)):
            raise UsageError(f"--{option} {value} overlaps with {title} in {other}; choose another folder")
    if not is_local(value):
        return BucketFolder(uri, option)
    if Path(uri).exists() and not Path(uri).is_dir():
        raise UsageError(f"--{option} {value}: is a file; choose a folder")
    return LocalFolder(uri, option)


def overlap(one: str, other: str) -> bool:
    """Whether two folders are the same, or one is inside the other."""
    one, other = f"{one.rstrip('/')}/", f"{other.rstrip('/')}/"
    return one.startswith(other) or other.startswith(one)


def _resolved(uri: str) -> str:
    return str(Path(absolute(uri)).resolve()) if is_local(uri) else uri.rstrip("/")
