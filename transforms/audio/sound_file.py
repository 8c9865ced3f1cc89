"""Opens the file of a recording in any filesystem."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.long_paths import is_long, open_long, stat_long


@contextlib.contextmanager
def open_audio(uri: str) -> Iterator[BinaryIO]:
    """Opens the file of a recording in any filesystem that Beam knows.

    Raises:
        AudioFault: the file cannot be opened, or reading it within the `with` block fails.
    """
    try:
        if FileSystems.get_scheme(uri) is None:
            _check_file(uri)
        with _open(uri) as file:
            yield file
    except OSError as error:  # Beam's own errors are OSErrors too
        raise AudioFault(Stage.READ, Reason.UNREADABLE, str(error)) from error


def _check_file(path: str) -> None:
    """Raises an `AudioFault` for a local FIFO, which could block forever when it is opened, a socket or a device."""
    try:
        mode = stat_long(path).st_mode if is_long(path) else Path(path).stat().st_mode
    except (OSError, ValueError):  # opening the file raises the error
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise AudioFault(Stage.READ, Reason.NOT_A_FILE, "it is a FIFO, a socket or a device, not a file")


def _open(uri: str) -> BinaryIO:
    if FileSystems.get_scheme(uri) is None and is_long(uri):
        return open_long(uri)
    # Beam would decompress by the file's suffix. A compressed recording is an unsupported format.
    return FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
