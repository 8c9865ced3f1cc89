"""Local files that survive a loss of power: written to the disk, and not only to the memory of the system.

A name survives once its folder is synced, and a content once its file is. Objects in buckets need neither.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model.local_files import DRAFT_PREFIX

# Errors of filesystems that cannot sync folders, or that let only the owner open them.
_NOT_SYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EISDIR}
# Errors of filesystems without hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}
# Number of files to sync at the same time: the disk writes them together.
_THREADS = 16


def sync_files(paths: Iterable[str]) -> None:
    """Writes the content of files to the disk, also if another process has written them.

    Raises:
        OSError: the disk has lost a content, or a file is missing.
    """
    waiting = list(paths)
    if len(waiting) <= 1:
        for path in waiting:
            _sync(path)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(_sync, waiting))


def sync_folder(folder: str | Path) -> None:
    """Writes the names in a folder to the disk, as far as its filesystem can.

    Raises:
        OSError: the disk has lost names.
    """
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


def sync_tree(root: str | Path, folders: Iterable[str | Path]) -> None:
    """Writes the names in folders to the disk, and those of the folders themselves, up to the root of the filesystem.

    Args:
        root: folder that contains the folders.
        folders: folders to sync.
    """
    for folder in folders:
        sync_folder(folder)
    for parent in (Path(root), *Path(root).absolute().parents):
        sync_folder(parent)


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_durably(path: Path, content: bytes) -> bool:
    """Creates a file that appears complete or not at all, and is on the disk at the end.

    Only one of several processes that create the same file succeeds. On filesystems without hard links, two may succeed in the
    same moment.

    Args:
        path: path of the file. Its folder is created.
        content: content of the file.

    Returns:
        Whether the file was created; False if it exists.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path.parent, content)
    try:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                return False
            draft.replace(path)
        sync_folder(path.parent)
        return True
    finally:
        draft.unlink(missing_ok=True)


def _draft(folder: Path, content: bytes) -> Path:
    """Writes content to a new file under another name, and to the disk."""
    draft = folder / f"{DRAFT_PREFIX}{secrets.token_hex(6)}"
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
