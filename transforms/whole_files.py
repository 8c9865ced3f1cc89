"""Files that are there as a whole or not at all, in any filesystem that Beam knows."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.files import is_local


@contextlib.contextmanager
def whole_file(uri: str) -> Iterator[BinaryIO]:
    """A file to write from its start on, which takes its place if the block ends well; its folder is made.

    Raises:
        OSError: it cannot be written.
    """
    if not is_local(uri):
        # An object is there once its upload ended; with a block that fails the upload is given up.
        with FileSystems.create(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        return
    target = Path(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".draft-", delete=False) as made:
        draft = Path(made.name)
        try:
            yield cast(BinaryIO, made)
            made.flush()
            draft.chmod(0o644)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
