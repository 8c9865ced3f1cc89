"""A bucket that holds nothing: its names and sizes are made as they are asked for, however many there are."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from unittest.mock import patch

# What Cloud Storage gives in an answer at most.
PAGE = 1_000
_CREATED = datetime(2026, 1, 1, tzinfo=UTC)


class Blob(NamedTuple):
    """What is asked of an object."""

    name: str
    size: int
    time_created: datetime
    generation: int


class GeneratedBucket:
    """Stands in for the client of Cloud Storage: objects `speech/0000/000/speech_00000000.flac` of 30 to 480 kB.

    Args:
        objects: how many there are.
        in_folder: of them in a folder; folders are gathered by the thousand.
        size_bytes: of an object, at least and at most.

    Attributes:
        requests: that were answered, each with up to 1,000 objects or folders.
    """

    def __init__(self, objects: int, in_folder: int, size_bytes: tuple[int, int] = (30_000, 480_000)) -> None:
        self.objects, self.in_folder = objects, in_folder
        self.size_bytes = size_bytes
        self.folders = math.ceil(objects / in_folder)
        self.requests = 0

    @property
    def client(self) -> GeneratedBucket:
        """As `GcsIO` and `cloud_storage` have one."""
        return self

    def exists(self, path: str) -> bool:
        """As `GcsIO` has it: a folder is no object."""
        assert path.startswith("gs://generated/")
        return False

    def list_blobs(self, bucket: str, prefix: str, fields: str, delimiter: str | None = None) -> _Listing:
        """As Cloud Storage's client has it."""
        assert (bucket, "nextPageToken" in fields) == ("generated", True)
        return _Listing(self, prefix, delimiter)

    def blobs(self, numbers: range) -> Iterator[Blob]:
        """Objects by their numbers; sizes follow no order."""
        low, high = self.size_bytes
        for number in numbers:
            if number % self.in_folder == 0 or number == numbers.start:
                folder = self.folder(number // self.in_folder)
            yield Blob(f"{folder}speech_{number:08d}.flac", low + number * 7919 % (high - low), _CREATED, number)

    def folder(self, number: int) -> str:
        """A folder by its number."""
        return f"speech/{number // 1_000:04d}/{number % 1_000:03d}/"


class _Listing:
    def __init__(self, bucket: GeneratedBucket, prefix: str, delimiter: str | None) -> None:
        self._bucket, self._prefix, self._delimiter = bucket, prefix, delimiter

    @property
    def pages(self) -> Iterator[_Page]:
        """Page by page, each a request."""
        found, bucket = self._folders(), self._bucket
        if self._delimiter and len(found) > 1:
            depth = self._prefix.count("/") + 1
            names = dict.fromkeys("/".join(bucket.folder(number).split("/")[:depth]) + "/" for number in found)
            for part in self._paged(list(names)):
                yield _Page(part, iter([]))
        else:
            first, last = found.start * bucket.in_folder, found.stop * bucket.in_folder
            for part in self._paged(range(first, min(bucket.objects, last))):
                yield _Page([], bucket.blobs(part))

    def __iter__(self) -> Iterator[Blob]:
        for page in self.pages:
            yield from page

    def _folders(self) -> range:
        """Those whose names begin with the prefix."""
        parts = self._prefix.rstrip("/").split("/")
        assert parts[0] == "speech"
        if len(parts) == 1:
            return range(self._bucket.folders)
        if not all(part.isdecimal() for part in parts[1:]):
            return range(0)
        first = int(parts[1]) * 1_000
        if len(parts) == 2:
            return range(first, min(first + 1_000, self._bucket.folders))
        return range(first + int(parts[2]), first + int(parts[2]) + 1)

    def _paged(self, items: Any) -> Iterator[Any]:
        for start in range(0, len(items), PAGE):
            self._bucket.requests += 1
            yield items[start : start + PAGE]


class _Page:
    def __init__(self, prefixes: list[str], blobs: Iterator[Blob]) -> None:
        self.prefixes, self._blobs = prefixes, blobs

    def __iter__(self) -> Iterator[Blob]:
        return self._blobs


@contextlib.contextmanager
def generated(bucket: GeneratedBucket) -> Iterator[str]:
    """Lets `gs://generated` be listed, and nothing else on Cloud Storage; gives the folder with all objects."""
    with (
        patch("apache_beam.io.gcp.gcsio.GcsIO", lambda **_: bucket),
        patch("transforms.storage.gcs.client.client", lambda *_: bucket),
    ):
        yield "gs://generated/speech"
