"""Opens the file of a recording in any filesystem."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.errors import AudioFault, Reason, Stage


@contextlib.contextmanager
def open_audio(uri: str) -> Iterator[BinaryIO]:
    """Opens the file of a recording in any filesystem that Beam knows.

    Raises:
        AudioFault: the file cannot be opened, or reading it within the `with` block fails.
    """
    try:
        path = Path(uri)
        if FileSystems.get_scheme(uri) is None and not (path.is_file() or path.is_dir()) and path.exists():
            # Opening a FIFO could block forever.
            raise AudioFault(Stage.READ, Reason.NOT_A_FILE, "it is a FIFO, a socket or a device, not a file")
        # Beam would decompress by the file's suffix. A compressed recording is an unsupported format.
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
    except OSError as error:  # Beam's own errors are OSErrors too
        raise AudioFault(Stage.READ, Reason.UNREADABLE, str(error)) from error
