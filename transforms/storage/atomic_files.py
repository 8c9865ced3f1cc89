"""Atomic writes in any filesystem that Beam knows: a file appears complete or not at all."""

from __future__ import annotations

import contextlib
import io
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from model.local_files import DRAFT_PREFIX, atomic_path
from transforms.errors import OutputError
from transforms.storage.files import absolute, is_local
from transforms.storage.fsspec_storage.filesystem import OBJECT_STORES, check_writable, scheme_of
from transforms.storage.gcs.listing import is_object_storage
from transforms.storage.storage_errors import reason

# Pattern of the draft that a killed process leaves: a file, or a local folder with a file in it.
DRAFT = rf"{re.escape(DRAFT_PREFIX)}[^/]+(?:/[^/]+)?"


@contextlib.contextmanager
def atomic_file(uri: str) -> Iterator[BinaryIO]:
    """Opens a file for writing. The file appears, or replaces an older one, only if the block succeeds.

    Raises:
        OSError: it cannot be written.
    """
    if is_local(uri):
        with atomic_path(Path(uri)) as path, path.open("wb") as file:
            yield file
    elif is_object_storage(uri) or scheme_of(uri) in OBJECT_STORES:
        # An object appears when its upload is complete. A block that fails cancels the upload.
        with _create(uri) as file:
            yield file
    else:
        draft = f"{uri.rpartition('/')[0]}/{DRAFT_PREFIX}{secrets.token_hex(6)}"
        try:
            with _create(draft) as file:
                yield file
            FileSystems.rename([draft], [uri])
        finally:
            with contextlib.suppress(OSError):
                if FileSystems.exists(draft):
                    FileSystems.delete([draft])


def _create(uri: str) -> BinaryIO:
    return FileSystems.create(uri, compression_type=CompressionTypes.UNCOMPRESSED)


def write_bytes(uri: str, content: bytes) -> None:
    """Writes a file atomically.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_file(uri) as file:
        file.write(content)


def check_new(path: str, overwrite: bool) -> None:
    """Checks that a command may write to `--output`, before it does any work.

    Args:
        path: value of `--output`.
        overwrite: whether the file may exist.

    Raises:
        OutputError: the file exists, or the path is a folder.
    """
    target = absolute(path)
    try:
        check_writable(target)
    except OSError as error:
        raise OutputError(f"--output {path}: {error}") from error
    if is_local(target) and Path(target).is_dir():
        raise OutputError(f"--output {path}: it is a folder; name a file")
    if not overwrite and FileSystems.exists(target):
        raise OutputError(f"--output {path}: it already exists; choose another name, or add --overwrite")


@contextlib.contextmanager
def new_file(path: str, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Opens `--output` for writing, like `atomic_file`.

    Args:
        path: value of `--output`.
        overwrite: whether the file may exist.

    Raises:
        OutputError: the file exists, or it cannot be written.
    """
    check_new(path, overwrite)
    try:
        with atomic_file(absolute(path)) as file:
            yield file
    except OSError as error:
        raise OutputError(f"--output {path}: cannot be written ({reason(error)})") from error


@contextlib.contextmanager
def new_text(path: str, overwrite: bool = False) -> Iterator[TextIO]:
    """Opens `--output` for writing text in UTF-8, like `new_file`.

    Raises:
        OutputError: see `new_file`.
    """
    with new_file(path, overwrite) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()
