"""Conditional writes to Cloud Storage: an object is created, replaced or deleted only if nobody else has changed it."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from transforms.storage.gcs import client as gcs

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


def read(uri: str, patience_s: float | None = None) -> Object | None:
    """Returns an object, or None if there is none.

    Args:
        uri: URI of the object.
        patience_s: seconds for which failed requests are repeated; by default those of the client.

    Raises:
        OSError: the object cannot be read.
        StorageError: the storage does not answer.
    """
    with gcs.os_errors(uri):
        while True:
            blob = _blob(uri)
            try:
                blob.reload(retry=_retry(patience_s))
                generation, updated_s = int(blob.generation), blob.updated.timestamp()
                content = blob.download_as_bytes(if_generation_match=generation, retry=_retry(patience_s))
            except NotFound as error:
                if "bucket does not exist" in str(error):
                    raise
                return None
            except PreconditionFailed:  # it was replaced between the two requests
                continue
            return Object(content, generation, updated_s)


def write(uri: str, content: bytes, generation: int, patience_s: float | None = None) -> int | None:
    """Writes an object if it still has a generation.

    If the answer to a successful request is lost, its repetition finds the written object and counts as successful.

    Args:
        uri: URI of the object.
        content: new content.
        generation: expected generation; `MISSING` to create the object.
        patience_s: seconds for which a failed request is repeated; by default those of the client.

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
                content, "application/octet-stream", if_generation_match=generation, retry=_retry(patience_s)
            )
        except PreconditionFailed:
            found = read(uri, patience_s)
            return found.generation if found and found.content == content else None
        return int(blob.generation)


def delete(uri: str, generation: int, patience_s: float | None = None) -> None:
    """Deletes an object if it still has a generation.

    Args:
        uri: URI of the object.
        generation: expected generation.
        patience_s: seconds for which a failed request is repeated; by default those of the client.

    Raises:
        OSError: the object cannot be deleted.
        StorageError: the storage does not answer.
    """
    with gcs.os_errors(uri), contextlib.suppress(NotFound, PreconditionFailed):
        _blob(uri).delete(if_generation_match=generation, retry=_retry(patience_s))


def storage_time_s(probe: str) -> float:
    """Returns the time of the storage's clock, in seconds since 1970.

    Args:
        probe: URI of an object that is written and deleted for this.

    Raises:
        OSError: the object cannot be written.
        StorageError: the storage does not answer.
    """
    with gcs.os_errors(probe):
        blob = _blob(probe)
        blob.upload_from_string(b"", retry=gcs.retry())
        written_s: float = blob.updated.timestamp()
        delete(probe, int(blob.generation))
        return written_s


def _retry(patience_s: float | None) -> Any:
    policy = gcs.retry()
    return policy if patience_s is None else policy.with_timeout(patience_s)


def _blob(uri: str) -> Any:
    bucket, _, name = uri.removeprefix(f"{gcs.SCHEME}://").partition("/")
    return gcs.client().bucket(bucket).blob(name)
