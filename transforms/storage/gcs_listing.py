"""Objects on Cloud Storage, page by page: Beam's own listing keeps all names in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transforms.storage import gcs

# What is asked for of an object; all else would be most of what is sent.
_FIELDS = "items(name,size,updated),prefixes,nextPageToken"
_SCHEME = "gs://"


def is_object_storage(uri: str) -> bool:
    """Whether this module can list a place; without the extra `gcp` Beam says that it is missing."""
    return uri.startswith(_SCHEME) and gcs.IS_INSTALLED


def objects(beginning: str, deep: bool) -> Iterator[tuple[str, int, float]]:
    """URI, size in bytes and time of change (seconds since 1970) of each object whose URI begins so.

    Args:
        beginning: `gs://bucket/some/folder/`, or `gs://bucket/some/pre`.
        deep: whether a slash may come behind it.
    """
    bucket, prefix = _parts(beginning)
    with gcs.retelling(beginning):
        for blob in _blobs(bucket, prefix, delimiter=None if deep else "/"):
            yield f"{_SCHEME}{bucket}/{blob.name}", blob.size, blob.updated.timestamp()


def folders_in(folder: str) -> list[str]:
    """The folders in a folder; none where its first page of names shows none, since it may have millions of objects."""
    bucket, prefix = _parts(f"{folder.rstrip('/')}/")
    found: list[str] = []
    with gcs.retelling(folder):
        for page in _blobs(bucket, prefix, delimiter="/").pages:
            list(page)
            found += page.prefixes
            if not found:
                break
    return [f"{_SCHEME}{bucket}/{name.rstrip('/')}" for name in found]


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix(_SCHEME).partition("/")
    return bucket, prefix


def _blobs(bucket: str, prefix: str, **how: Any) -> Any:
    return gcs.client().list_blobs(bucket, prefix=prefix, fields=_FIELDS, **how)
