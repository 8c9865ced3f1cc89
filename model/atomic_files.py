"""Atomic writes of local files and folders: a path holds its old content or all of the new, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Beginning of the name of the folder that holds a draft. It stays only if the process is killed.
DRAFT_PREFIX = ".draft-"


@contextlib.contextmanager
def atomic_path(path: Path, replace_folder: bool = False) -> Iterator[Path]:
    """Yields the path of a draft, and moves the draft to its place if the block succeeds.

    Args:
        path: file or folder to create; a file there is replaced. Parent folders are created. The draft has the same name.
        replace_folder: whether to replace a folder, too.

    Raises:
        IsADirectoryError: there is a folder, and it must not be replaced.
    """
    if path.is_dir() and not replace_folder:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the path, as a rename is atomic only within a filesystem.
    with tempfile.TemporaryDirectory(prefix=DRAFT_PREFIX, dir=path.parent, ignore_cleanup_errors=True) as folder:
        draft = Path(folder, path.name)
        yield draft
        if path.is_dir():  # a rename does not replace a folder that has files
            path.rename(Path(folder, ".replaced"))
        draft.replace(path)


def write_text(path: Path, text: str) -> None:
    """Writes a file in UTF-8 atomically."""
    with atomic_path(path) as draft:
        draft.write_text(text, encoding="utf-8")
