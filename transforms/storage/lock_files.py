"""Lock files that several machines see, on shared disks and in buckets: of several machines that create one, one succeeds."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.storage.atomic_files import write_bytes
from transforms.storage.durable_files import create_once
from transforms.storage.files import is_local
from transforms.storage.gcs import conditions as gcs_conditions
from transforms.storage.gcs.listing import is_object_storage

# Seconds for which requests about a lock in a bucket are repeated: a lock is renewed more often than a storage may be silent.
PATIENCE_S = 20.0
# Seconds after which a process that has claimed a lock file on a disk, and not yet replaced it, has died.
CLAIM_S = 60.0
# Number of processes that may die so, one after the other.
MAX_CLAIMS = 5


class Found(NamedTuple):
    """A lock file at one moment.

    Attributes:
        content: its bytes.
        version: value by which `LockFile` recognises this state of the file.
        age_s: seconds since it was created or renewed, by the clock of its storage.
    """

    content: bytes
    version: Any
    age_s: float


class LockFile(Protocol):
    """A lock file in one kind of storage. A version is what a method returned last; None means that nothing was done.

    All methods raise `OSError` if the storage refuses, and `StorageError` if it does not answer.
    """

    def create(self, content: bytes) -> Any:
        """Creates the file, unless it exists; returns its version."""

    def read(self) -> Found | None:
        """Returns the file, if it exists."""

    def renew(self, version: Any, content: bytes) -> Any:
        """Sets the age to 0, if the file has the version and content; returns the new version."""

    def take_over(self, version: Any, content: bytes) -> Any:
        """Replaces the content, if the file has the version; returns the new version."""

    def delete(self, version: Any) -> None:
        """Deletes the file, if it has the version."""


def lock_file(uri: str) -> LockFile:
    """Returns the lock file with a path or URI."""
    if is_local(uri):
        return _LocalLock(Path(uri))
    return _ObjectLock(uri) if is_object_storage(uri) else _BeamLock(uri)


def _probe(uri: str) -> str:
    return f"{uri.rpartition('/')[0]}/.probe-{secrets.token_hex(3)}"


class _ObjectLock:
    """An object on Cloud Storage. Its version is its generation."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def create(self, content: bytes) -> int | None:
        return gcs_conditions.write(self._uri, content, gcs_conditions.MISSING, PATIENCE_S)

    def read(self) -> Found | None:
        found = gcs_conditions.read(self._uri, PATIENCE_S)
        if found is None:
            return None
        age_s = gcs_conditions.storage_time_s(_probe(self._uri)) - found.updated_s
        return Found(found.content, found.generation, age_s)

    def renew(self, version: int, content: bytes) -> int | None:
        return gcs_conditions.write(self._uri, content, version, PATIENCE_S)

    take_over = renew

    def delete(self, version: int) -> None:
        gcs_conditions.delete(self._uri, version, PATIENCE_S)


class _LocalLock:
    """A file on a disk, which other machines may share. Its version is its content, which no other lock has."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self, content: bytes) -> bytes | None:
        return content if create_once(self._path, content) else None

    def read(self) -> Found | None:
        try:
            content, modified_s = self._path.read_bytes(), self._path.stat().st_mtime
        except FileNotFoundError:
            return None
        # A new file has the time of the machine that holds the disk, as the lock has.
        probe = Path(_probe(str(self._path)))
        try:
            probe.write_bytes(b"")
            age_s = probe.stat().st_mtime - modified_s
        finally:
            probe.unlink(missing_ok=True)
        return Found(content, content, age_s)

    def renew(self, version: bytes, content: bytes) -> bytes | None:  # noqa: ARG002 -- the content stays
        if not self._has(self._path, version):
            return None
        try:
            os.utime(self._path)
        except FileNotFoundError:
            return None
        return version

    def take_over(self, version: bytes, content: bytes) -> bytes | None:
        with self._claim(version) as is_mine:
            if not is_mine or not self._has(self._path, version):
                return None
            write_bytes(str(self._path), content)
            return content

    def delete(self, version: bytes) -> None:
        with self._claim(version) as is_mine:
            if is_mine and self._has(self._path, version):
                self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _claim(self, version: bytes) -> Iterator[bool]:
        """Yields whether this process alone may replace or delete the file while it has the version.

        A disk cannot compare and replace in one step. The claim is a second file, named after the version: of several processes
        that create it, one succeeds, and no version comes twice. A process that dies with its claim leaves it behind; after
        `CLAIM_S`, the next number can be claimed.
        """
        digest = hashlib.sha256(version).hexdigest()[:16]
        claims = [self._path.with_name(f"{self._path.name}-{digest}-{number}") for number in range(MAX_CLAIMS)]
        for count, claim in enumerate(claims, start=1):
            if self._is_new(claim):
                try:
                    yield True
                finally:
                    # Who claims this version from now on finds that the file no longer has it.
                    for path in claims[:count]:
                        path.unlink(missing_ok=True)
                return
            found = _LocalLock(claim).read()
            if found is None or found.age_s < CLAIM_S:
                break
        yield False

    @staticmethod
    def _is_new(path: Path) -> bool:
        """Creates an empty file; returns whether it did not exist."""
        try:
            path.open("xb").close()
        except FileExistsError:
            return False
        return True

    @staticmethod
    def _has(path: Path, version: bytes) -> bool:
        try:
            return path.read_bytes() == version
        except FileNotFoundError:
            return False


class _BeamLock:
    """A file in another filesystem of Beam. Its version is its content.

    These filesystems have no conditions, so two machines that create it in the same moment may both succeed.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def create(self, content: bytes) -> bytes | None:
        return None if FileSystems.exists(self._uri) else self._write(content)

    def read(self) -> Found | None:
        content = self._content()
        if content is None:
            return None
        probe = _probe(self._uri)
        FileSystems.create(probe, compression_type=CompressionTypes.UNCOMPRESSED).close()
        try:
            now, then = (match.metadata_list for match in FileSystems.match([probe, self._uri]))
            if not then:
                return None
            age_s = now[0].last_updated_in_seconds - then[0].last_updated_in_seconds
        finally:
            FileSystems.delete([probe])
        return Found(content, content, age_s)

    def renew(self, version: bytes, content: bytes) -> bytes | None:
        return self._write(content) if self._content() == version else None

    take_over = renew

    def delete(self, version: bytes) -> None:
        if self._content() == version:
            FileSystems.delete([self._uri])

    def _write(self, content: bytes) -> bytes | None:
        write_bytes(self._uri, content)
        return content if self._content() == content else None

    def _content(self) -> bytes | None:
        if not FileSystems.exists(self._uri):
            return None
        with FileSystems.open(self._uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            content: bytes = file.read()
            return content
