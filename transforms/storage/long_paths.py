"""Reads local files whose path is longer than the system accepts (4,095 bytes on Linux), folder by folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

# Longest path in bytes that one call gets.
_CALL_BYTES = 2_000


def is_long(path: str) -> bool:
    """Returns whether the system may refuse a path because of its length."""
    # A character has at most four bytes.
    return len(path) > _CALL_BYTES // 4 and len(os.fsencode(path)) > _CALL_BYTES


def open_long(path: str) -> BinaryIO:
    """Opens a file for reading.

    Raises:
        OSError: it cannot be opened.
    """
    with _parent(path) as (folder, name):
        return os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder), "rb")


def stat_long(path: str) -> os.stat_result:
    """Returns the status of a file, behind links.

    Raises:
        OSError: it cannot be read.
    """
    with _parent(path) as (folder, name):
        return os.stat(name, dir_fd=folder)


def files_below(folder: str) -> Iterator[str]:
    """Yields the paths of all files below a folder, and of folders that cannot be opened. Links to folders are not followed."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            with _opened(path) as number, os.scandir(number) as entries:
                listed = sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_dir()) for entry in entries)
        except OSError:
            yield path
            continue
        yield from (f"{path}/{name}" for name, _, leads_to_folder in listed if not leads_to_folder)
        waiting += [f"{path}/{name}" for name, is_folder, _ in reversed(listed) if is_folder]


@contextlib.contextmanager
def _parent(path: str) -> Iterator[tuple[int, str]]:
    """Opens the folder of a file; yields its descriptor and the name of the file."""
    parent, _, name = path.rpartition("/")
    with _opened(parent or "/") as number:
        yield number, name


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    """Opens a folder step by step, and yields its descriptor."""
    number = os.open("/" if folder.startswith("/") else ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in _parts(folder):
            following = os.open(part, os.O_RDONLY | os.O_DIRECTORY, dir_fd=number)
            os.close(number)
            number = following
        yield number
    finally:
        os.close(number)


def _parts(folder: str) -> Iterator[str]:
    """Cuts a path into relative paths that one call accepts."""
    part = ""
    for name in filter(None, folder.split("/")):
        if part and is_long(f"{part}/{name}"):
            yield part
            part = ""
        part = f"{part}/{name}" if part else name
    if part:
        yield part
