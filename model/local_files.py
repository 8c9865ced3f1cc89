"""Atomic writes of local files and folders: a path holds either its old or its new content, never a part of it."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Prefix of the folder that holds a draft. Only a killed process leaves such a folder.
DRAFT_PREFIX = ".draft-"


@contextlib.contextmanager
def atomic_path(path: Path, replace_folder: bool = False) -> Iterator[Path]:
    """Yields the path of a draft, and renames the draft to `path` if the block succeeds.

    Args:
        path: file or folder to create; an existing file is replaced. Parent folders are created. The draft has the same name.
        replace_folder: whether to replace an existing folder.

    Raises:
        IsADirectoryError: `path` is a folder, and `replace_folder` is False.
    """
    if path.is_dir() and not replace_folder:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a rename is atomic only within a filesystem.
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
