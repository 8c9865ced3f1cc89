"""Objects on Cloud Storage, page by page: Beam's own listing keeps all names in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# What is asked for of an object; all else would be most of what is sent.
_FIELDS = "items(name,size,updated),prefixes,nextPageToken"
_SCHEME = "gs://"


def is_object_storage(uri: str) -> bool:
    """Whether this module can list a place."""
    return uri.startswith(_SCHEME)


def objects(folder: str, deep: bool) -> Iterator[tuple[str, int, float]]:
    """URI, size in bytes and time of change (seconds since 1970) of each object below a folder.

    Args:
        folder: `gs://bucket/some/folder`, with or without a slash at its end.
        deep: whether those in folders below it count too.
    """
    bucket, prefix = _parts(folder)
    for blob in _blobs(bucket, prefix, delimiter=None if deep else "/"):
        yield f"{_SCHEME}{bucket}/{blob.name}", blob.size, blob.updated.timestamp()


def folders_in(folder: str) -> list[str]:
    """The folders in a folder; none where its first page of names shows none, since it may have millions of objects."""
    bucket, prefix = _parts(folder)
    pages = _blobs(bucket, prefix, delimiter="/").pages
    found: list[str] = []
    for page in pages:
        list(page)
        found += page.prefixes
        if not found:
            break
    return [f"{_SCHEME}{bucket}/{name.rstrip('/')}" for name in found]


def _parts(folder: str) -> tuple[str, str]:
    bucket, _, prefix = folder.removeprefix(_SCHEME).partition("/")
    return bucket, f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


def _blobs(bucket: str, prefix: str, **how: Any) -> Any:
    from apache_beam.io.gcp.gcsio import GcsIO  # the extra `gcp`

    return GcsIO().client.list_blobs(bucket, prefix=prefix, fields=_FIELDS, **how)
