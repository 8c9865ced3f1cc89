"""Files that are there whole or not at all: written beside their place where need be, and put there at the end."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.errors import OutputError
from transforms.storage.files import absolute, is_local
from transforms.storage.gcs import reason
from transforms.storage.gcs_listing import is_object_storage


def check_new(path: str, overwrite: bool) -> None:
    """Looks whether a file may be written, before any work is done for it.

    Raises:
        OutputError: it is there already.
    """
    target = absolute(path)
    if is_local(target) and Path(target).is_dir():
        raise OutputError(f"--output {path}: it is a folder; name a file")
    if not overwrite and FileSystems.exists(target):
        raise OutputError(f"--output {path}: it is there already; choose another name, or --overwrite it")


@contextlib.contextmanager
def whole_file(uri: str) -> Iterator[BinaryIO]:
    """A file to be written, in any filesystem that Beam knows, over what is there; it appears when the block ends well.

    Raises:
        OSError: it cannot be written.
    """
    # An object appears once its upload has ended, and where the block fails that is given up.
    draft = uri if is_object_storage(uri) else f"{uri.rpartition('/')[0]}/.draft-{secrets.token_hex(6)}"
    try:
        with FileSystems.create(draft, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        if draft != uri:
            FileSystems.rename([draft], [uri])
    finally:
        if draft != uri:
            with contextlib.suppress(OSError):
                if FileSystems.exists(draft):
                    FileSystems.delete([draft])


@contextlib.contextmanager
def new_file(path: str, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Opens a file to be written in any filesystem that Beam knows; it appears when the block ends, and only if it ends well.

    Raises:
        OutputError: it is there already, or cannot be written.
    """
    check_new(path, overwrite)
    try:
        with whole_file(absolute(path)) as file:
            yield file
    except OSError as error:
        raise OutputError(f"--output {path}: cannot be written ({reason(error)})") from error


@contextlib.contextmanager
def new_text(path: str, overwrite: bool = False) -> Iterator[TextIO]:
    """`new_file` for text in UTF-8.

    Raises:
        OutputError: as `new_file`.
    """
    with new_file(path, overwrite) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()
