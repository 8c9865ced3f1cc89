"""Creates files that must not exist yet, in any filesystem that Beam knows: of several processes, one succeeds."""

from __future__ import annotations

from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from transforms.storage.atomic_files import write_bytes
from transforms.storage.durable_files import create_durably
from transforms.storage.files import is_local
from transforms.storage.gcs import conditions as gcs_conditions
from transforms.storage.gcs.listing import is_object_storage


def create_file(uri: str, content: bytes) -> bool:
    """Creates a file. It appears complete or not at all, and survives a loss of power.

    On filesystems other than local ones and Cloud Storage, two processes may both succeed if they create it in the same moment.

    Args:
        uri: path or URI of the file.
        content: content of the file.

    Returns:
        Whether the file was created; False if it exists.

    Raises:
        OSError: the file cannot be written.
        StorageError: the storage does not answer.
    """
    if is_local(uri):
        return create_durably(Path(uri), content)
    if is_object_storage(uri):
        return gcs_conditions.write(uri, content, gcs_conditions.MISSING) is not None
    if FileSystems.exists(uri):
        return False
    write_bytes(uri, content)
    return True
