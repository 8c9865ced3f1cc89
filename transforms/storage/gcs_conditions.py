"""Conditional writes to Cloud Storage: an object is created, replaced or deleted only if nobody else has changed it."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from transforms.storage import gcs

if gcs.IS_INSTALLED:  # otherwise nothing here is called
    from google.api_core.exceptions import NotFound, PreconditionFailed

# Generation of an object that does not exist.
MISSING = 0


class Object(NamedTuple):
    """An object at one moment.

    Attributes:
        content: its bytes.
        generation: number that changes when the object is written.
        updated_s: time when it was written, by the clock of the storage, in seconds since 1970.
    """

    content: bytes
    generation: int
    updated_s: float


def read(uri: str) -> Object | None:
    """Returns an object, or None if there is none.

    Raises:
        OSError: the object cannot be read.
        StorageError: the storage does not answer.
    """
    with gcs.os_errors(uri):
        while True:
            blob = _blob(uri)
            try:
                blob.reload(retry=gcs.retry())
                generation, updated_s = int(blob.generation), blob.updated.timestamp()
                content = blob.download_as_bytes(if_generation_match=generation, retry=gcs.retry())
            except NotFound as error:
                if "bucket does not exist" in str(error):
                    raise
                return None
            except PreconditionFailed:  # it was replaced between the two requests
                continue
            return Object(content, generation, updated_s)


def write(uri: str, content: bytes, generation: int) -> int | None:
    """Writes an object if it still has a generation.

    If the answer to a successful request is lost, its repetition finds the written object and counts as successful.

    Args:
        uri: URI of the object.
        content: new content.
        generation: expected generation; `MISSING` to create the object.

    Returns:
        The new generation, or None if the object has another generation, and so was not written.

    Raises:
        OSError: the object cannot be written.
        StorageError: the storage does not answer.
    """
    with gcs.os_errors(uri):
        blob = _blob(uri)
        try:
            blob.upload_from_string(
                content, "application/octet-stream", if_generation_match=generation, retry=gcs.retry()
            )
        except PreconditionFailed:
            found = read(uri)
            return found.generation if found and found.content == content else None
        return int(blob.generation)


def delete(uri: str, generation: int) -> None:
    """Deletes an object if it still has a generation.

    Raises:
        OSError: the object cannot be deleted.
        StorageError: the storage does not answer.
    """
    with gcs.os_errors(uri), contextlib.suppress(NotFound, PreconditionFailed):
        _blob(uri).delete(if_generation_match=generation, retry=gcs.retry())


def _blob(uri: str) -> Any:
    bucket, _, name = uri.removeprefix(f"{gcs.SCHEME}://").partition("/")
    return gcs.client().bucket(bucket).blob(name)
