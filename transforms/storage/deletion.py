"""Deletes files that may not exist, in any filesystem that Beam knows."""

from __future__ import annotations

from collections.abc import Iterable

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from transforms.storage.gcs.client import SCHEME

# Beam deletes no file of a list if one of them disappears at the wrong moment.
_ATTEMPTS = 3


def delete_files(uris: Iterable[str]) -> list[str]:
    """Deletes those files that exist, also if another process deletes them at the same time; returns them.

    Raises:
        OSError: a file cannot be deleted.
        StorageError: the storage does not answer.
    """
    paths = sorted(uris)
    if paths and FileSystems.get_scheme(paths[0]) != SCHEME:  # on Cloud Storage, a missing object raises no error
        paths = _existing(paths)
    remaining = paths
    for attempt in range(_ATTEMPTS):
        if not remaining:
            break
        try:
            FileSystems.delete(remaining)
            break
        except BeamIOError:
            remaining = _existing(remaining)
            if remaining and attempt + 1 == _ATTEMPTS:
                raise
    return paths


def _existing(paths: list[str]) -> list[str]:
    return [path for path in paths if FileSystems.exists(path)]
