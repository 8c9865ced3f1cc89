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


def sync_all(files: Iterable[str | Path] = (), folders: Iterable[str | Path] = ()) -> None:
    """Writes the content of files and the names in folders to the disk, also if another process has written them.

    Args:
        files: files.
        folders: folders. Those that a filesystem cannot sync are left out.

    Raises:
        OSError: the disk has lost something, or a file is missing.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [
            *(pool.submit(_sync, file) for file in files),
            *(pool.submit(sync_folder, folder) for folder in folders),
        ]:
            done.result()


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


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_durably(path: Path, content: bytes) -> bool:
    """Creates a file like `create_once`, which is on the disk at the end."""
    return create_once(path, content, durable=True)


def create_once(path: Path, content: bytes, durable: bool = False) -> bool:
    """Creates a file that appears complete or not at all.

    Only one of several processes that create the same file succeeds. On filesystems without hard links, two may succeed in the
    same moment.

    Args:
        path: path of the file. Its folder is created.
        content: content of the file.
        durable: whether the file must survive a loss of power.

    Returns:
        Whether the file was created; False if it exists.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path.parent, content, durable)
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
        if durable:
            sync_folder(path.parent)
        return True
    finally:
        draft.unlink(missing_ok=True)


def _draft(folder: Path, content: bytes, durable: bool) -> Path:
    """Writes content to a new file under another name."""
    draft = folder / f"{DRAFT_PREFIX}{secrets.token_hex(6)}"
    try:
        with draft.open("xb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
