"""Listing of objects on Cloud Storage, page by page: Beam's own listing keeps all names in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transforms.storage.gcs import client as gcs
from transforms.storage.source_versions import version_of_object

# Requested fields of an object. The other fields would make up most of a response.
_FIELDS = "items(name,size,generation,timeCreated),prefixes,nextPageToken"
_SCHEME = f"{gcs.SCHEME}://"


def is_object_storage(uri: str) -> bool:
    """Returns whether this module can list a URI: it is on Cloud Storage, and the extra `gcp` is installed."""
    return uri.startswith(_SCHEME) and gcs.IS_INSTALLED


def objects(uri_prefix: str, deep: bool) -> Iterator[tuple[str, int, str]]:
    """Yields the URI, size in bytes and version of each object with a URI prefix.

    Args:
        uri_prefix: `gs://bucket/some/folder/`, or `gs://bucket/some/pre`.
        deep: whether to include objects with a slash after the prefix, which lie in folders below it.

    Raises:
        OSError: the bucket does not exist, or may not be listed.
        StorageError: the storage does not answer.
    """
    bucket, prefix = _parts(uri_prefix)
    with gcs.os_errors(uri_prefix):
        for blob in list_blobs(bucket, prefix, delimiter=None if deep else "/"):
            version = version_of_object(blob.size, blob.time_created.timestamp(), blob.generation)
            yield f"{_SCHEME}{bucket}/{blob.name}", blob.size, version


def folders_in(folder: str) -> list[str]:
    """Returns the subfolders of a folder.

    The listing stops if its first page has none, because the folder may hold millions of objects.

    Raises:
        OSError: the bucket does not exist, or may not be listed.
        StorageError: the storage does not answer.
    """
    bucket, prefix = _parts(f"{folder.rstrip('/')}/")
    names: list[str] = []
    with gcs.os_errors(folder):
        for page in list_blobs(bucket, prefix, delimiter="/").pages:
            list(page)
            names += page.prefixes
            if not names:
                break
    return [f"{_SCHEME}{bucket}/{name.rstrip('/')}" for name in names]


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix(_SCHEME).partition("/")
    return bucket, prefix


def list_blobs(bucket: str, prefix: str, **options: Any) -> Any:
    """Returns an iterator of the client library over the objects of a bucket whose names start with a prefix."""
    return gcs.client().list_blobs(bucket, prefix=prefix, fields=_FIELDS, **options)
