"""Beam's view of the filesystems that fsspec knows, such as `s3://`, `hf://` and `https://`.

Beam keeps the schemes that it serves well: local paths, `gs://` and `hdfs://`. Its own `s3://` makes a client per file and has
retries of its own; fsspec serves it here. `register` makes Beam ask this module for all other schemes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO

from apache_beam.io.filesystem import (
    BeamIOError,
    CompressedFile,
    CompressionTypes,
    FileMetadata,
    FileSystem,
    MatchResult,
)
from apache_beam.io.filesystems import FileSystems

from transforms.storage.fsspec_storage.errors import missing_package, os_errors
from transforms.storage.fsspec_storage.files import Reader, Writer
from transforms.storage.gcs.client import BufferedFile
from transforms.storage.source_versions import version_of_tag, version_of_time

# Schemes of Beam's own filesystems.
_OF_BEAM = (None, "gs", "hdfs", "azfs")
# Schemes whose servers list no files, or whose listings cannot be trusted: each file is looked up by itself.
WEB = ("http", "https")
READ_ONLY = (*WEB, "hf")
# Schemes on which a file appears when its upload is complete.
OBJECT_STORES = ("s3", "s3a", "abfs", "abfss", "az", "oss")
# Bytes that a reader fetches at least, and keeps.
READ_BUFFER = 16 << 20
_THREADS = 16
# Keys of `info` that identify the content of a file, the best first.
_TAGS = ("ETag", "etag", "md5", "Content-MD5", "Digest", "blob_id", "oid", "VersionId", "checksum")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "updated", "modified", "created")


class VersionedMetadata(FileMetadata):
    """Metadata of a file with its version.

    Attributes:
        source_version: version of the file, see `source_versions`.
    """

    def __init__(self, path: str, info: dict[str, Any]) -> None:
        size, time_s = int(info.get("size") or 0), _time_s(info)
        super().__init__(path, size, time_s)
        tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
        self.source_version = version_of_tag(size, tag) if tag else version_of_time(size, time_s)


def _time_s(info: dict[str, Any]) -> float:
    """Returns the modification time in the facts about a file, in seconds since 1970; 0 if it has none."""
    time = next((info[key] for key in _TIMES if info.get(key)), 0.0)
    if isinstance(time, datetime):
        return time.timestamp()
    if isinstance(time, (int, float)):
        return float(time)
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return parse(str(time)).timestamp()
        except ValueError:
            continue
    return 0.0


def register() -> None:
    """Makes Beam ask fsspec for the schemes that it does not know, and for `s3://`; further calls change nothing."""
    if FileSystems.get_filesystem is not _filesystem:
        FileSystems.get_filesystem = staticmethod(_filesystem)


_beams_filesystem = FileSystems.get_filesystem


def _filesystem(path: str) -> FileSystem | FsspecFileSystem:
    """Returns the filesystem of a path.

    Raises:
        ValueError: no filesystem has this scheme, or its package is not installed.
    """
    scheme = FileSystems.get_scheme(path)
    if scheme in _OF_BEAM:
        return _beams_filesystem(path)
    reason = _unknown(scheme)
    if not reason:
        return FsspecFileSystem(scheme)
    if scheme != "s3" and any(kind.scheme() == scheme for kind in FileSystem.get_all_subclasses()):
        return _beams_filesystem(path)
    raise ValueError(reason)


@functools.cache
def _unknown(scheme: str) -> str:
    """Returns why fsspec cannot serve a scheme; an empty text if it can."""
    return missing_package(scheme)


def scheme_of(path: str) -> str | None:
    """Returns the scheme of a path that fsspec serves; None for other paths."""
    scheme = FileSystems.get_scheme(path)
    return None if scheme in _OF_BEAM else scheme


class FsspecFileSystem:
    """A filesystem of fsspec, with the methods of Beam's `FileSystem`.

    It is no subclass of it, because Beam would take it for the filesystem of one scheme, and let workers import it by its name.

    Args:
        scheme: scheme of its URIs. Options come from fsspec's configuration (`FSSPEC_S3_ENDPOINT_URL` ...) and from the
            filesystem's own, such as `AWS_PROFILE`.
    """

    def __init__(self, scheme: str) -> None:
        import fsspec

        self._scheme = scheme
        options: dict[str, Any] = {} if scheme == "hf" else {"use_listings_cache": False}
        if scheme in WEB:
            # Otherwise sizes and ranges could be those of compressed content.
            options["client_kwargs"] = {"headers": {"Accept-Encoding": "identity"}}
        with os_errors(f"{scheme}://"):
            self._fs = fsspec.filesystem(scheme, **options)

    translate_pattern = staticmethod(FileSystem.translate_pattern)

    def has_dirs(self) -> bool:
        """Returns False: files can be created without their folders."""
        return False

    def join(self, basepath: str, *paths: str) -> str:
        """Joins parts of a path by slashes."""
        return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

    def split(self, path: str) -> tuple[str, str]:
        """Returns the folder and the name of a file."""
        folder, _, name = path.rpartition("/")
        return folder, name

    def mkdirs(self, path: str) -> None:
        """Does nothing: `create` creates folders."""

    def match(self, patterns: list[str], limits: list[int | None] | None = None) -> list[MatchResult]:
        """Finds files by patterns, like Beam's method, in which `**` matches any depth.

        Raises:
            BeamIOError: files cannot be listed.
        """
        results = []
        for pattern, limit in zip(patterns, limits or [None] * len(patterns), strict=True):
            pattern += "*" if pattern.endswith("/") else ""
            try:
                files = list(self._matches(pattern))
            except OSError as error:
                raise BeamIOError("Match operation failed", {pattern: error}) from error
            results.append(MatchResult(pattern, files[:limit]))
        return results

    def _matches(self, pattern: str) -> Iterator[FileMetadata]:
        wildcard = re.search(r"[*\[]" if self._scheme in WEB else r"[*?\[]", pattern)
        if wildcard is None:
            if self.exists(pattern):
                yield self.metadata(pattern)
            return
        prefix = pattern[: wildcard.start()]
        deep = bool(re.search(r"\*\*|[?\[/]", pattern[len(prefix) :]))
        matches = re.compile(self.translate_pattern(pattern)).match
        found: Iterator[FileMetadata] = (file for file in self._list(prefix, deep) if matches(file.path))
        if self._scheme in WEB:
            # A page names files, but not their sizes and versions.
            with ThreadPoolExecutor(_THREADS) as threads:
                found = threads.map(self._looked_up, list(found))
        yield from found

    def _looked_up(self, file: FileMetadata) -> FileMetadata:
        try:
            return self.metadata(file.path)
        except OSError:  # reading the file will give the error
            return file

    def _list(self, dir_or_prefix: str, deep: bool = True) -> Iterator[FileMetadata]:
        folder = dir_or_prefix.rpartition("/")[0]
        with os_errors(folder):
            if self._scheme == "hf":
                self._fs.invalidate_cache()
            try:
                found = self._fs.find(self._path(folder) + "/", maxdepth=None if deep else 1, detail=True)
            except FileNotFoundError:
                if self._scheme in WEB:
                    raise
                return  # buckets have no folders
        base = self._path(folder).rstrip("/")
        for name, info in sorted(found.items()):
            inside = name.startswith(f"{base}/")
            uri = f"{folder}{name.removeprefix(base)}" if inside else f"{self._scheme}://{name}"
            if info.get("type") != "directory" and uri.startswith(dir_or_prefix):
                yield VersionedMetadata(uri, info)

    def _path(self, uri: str) -> str:
        return str(self._fs._strip_protocol(uri))

    def exists(self, path: str) -> bool:
        """Returns whether there is a file; a folder is none."""
        try:
            with os_errors(path):
                return bool(self._info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def _info(self, path: str) -> dict[str, Any]:
        return dict(self._fs.info(self._path(path)))

    def metadata(self, path: str) -> FileMetadata:
        """Returns the metadata of a file.

        Raises:
            OSError: it does not exist, or may not be read.
        """
        with os_errors(path):
            return VersionedMetadata(path, self._info(path))

    def size(self, path: str) -> int:
        """Returns the size of a file in bytes."""
        return int(self.metadata(path).size_in_bytes)

    def last_updated(self, path: str) -> float:
        """Returns the modification time of a file, in seconds since 1970; 0 if it has none."""
        return float(self.metadata(path).last_updated_in_seconds)

    def checksum(self, path: str) -> str:
        """Returns the version of a file."""
        metadata = self.metadata(path)
        assert isinstance(metadata, VersionedMetadata)
        return metadata.source_version

    def open(
        self,
        path: str,
        mime_type: str = "application/octet-stream",  # noqa: ARG002 -- Beam's signature
        compression_type: str = CompressionTypes.AUTO,
    ) -> BinaryIO:
        """Opens a file for reading.

        Raises:
            OSError: it does not exist, or may not be read.
        """
        return self._compressed(self._reader(path, READ_BUFFER), path, compression_type)

    def open_in_parts(self, path: str) -> BinaryIO:
        """Opens a file to read parts of it. Only those parts are fetched."""
        return self._reader(path, 1)

    def _reader(self, path: str, buffer_size: int) -> Any:
        with os_errors(path):
            info = self._info(path)
            if info["type"] != "file":
                raise FileNotFoundError(f"{path}: it is a folder, not a file")
            size = info.get("size")
            reader = Reader(self._fs, self._path(path), path, None if size is None else int(size))
            return BufferedFile(reader, reader.size, buffer_size)

    def create(
        self,
        path: str,
        mime_type: str = "application/octet-stream",  # noqa: ARG002 -- Beam's signature
        compression_type: str = CompressionTypes.AUTO,
    ) -> BinaryIO:
        """Opens a file for writing. It appears, on object stores, when it is closed; after an error, it does not.

        Raises:
            OSError: the scheme can only be read, or the file may not be written.
        """
        check_writable(path)
        with os_errors(path):
            name = self._path(path)
            if self._scheme not in OBJECT_STORES:
                self._fs.makedirs(self._fs._parent(name), exist_ok=True)
            return self._compressed(Writer(self._fs, name, path), path, compression_type)

    @staticmethod
    def _compressed(file: Any, path: str, compression_type: str) -> Any:
        kind = FileSystem._get_compression_type(path, compression_type)
        return file if kind == CompressionTypes.UNCOMPRESSED else CompressedFile(file, kind)

    def copy(self, source_file_names: Iterable[str], destination_file_names: Iterable[str]) -> None:
        """Copies files."""
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            check_writable(destination)
            with os_errors(source):
                self._fs.cp_file(self._path(source), self._path(destination))

    def rename(self, source_file_names: Iterable[str], destination_file_names: Iterable[str]) -> None:
        """Renames files; on object stores, copies and deletes them."""
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            check_writable(destination)
            with os_errors(source):
                self._fs.mv(self._path(source), self._path(destination))

    def delete(self, paths: Iterable[str]) -> None:
        """Deletes files. A missing file is as good as deleted."""

        def delete(path: str) -> None:
            check_writable(path)
            try:
                with os_errors(path):
                    self._fs.rm_file(self._path(path))
            except FileNotFoundError:
                pass

        paths = list(paths)
        if len(paths) == 1:
            delete(paths[0])
            return
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(delete, paths))


def check_writable(uri: str) -> None:
    """Checks that files can be written at a URI.

    Raises:
        OSError: its scheme can only be read.
    """
    if (scheme := FileSystems.get_scheme(uri)) in READ_ONLY:
        raise OSError(f"{scheme}:// can only be read; write to a local folder, gs:// or s3://")
