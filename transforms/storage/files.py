"""Lists and looks up files, with sizes and versions, in any filesystem that Beam knows."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from apache_beam.io.filesystems import FileSystems

from transforms.elements import WHOLE, ArchiveKind, AudioRef, Span, printable
from transforms.errors import SourceError
from transforms.storage.fsspec_storage.filesystem import WEB
from transforms.storage.gcs.listing import folders_in, is_object_storage, objects
from transforms.storage.long_paths import files_below, is_long, stat_long
from transforms.storage.source_versions import NO_VERSION, version_of_time

# Name of a file that `probe` could create, but not delete.
PROBE = r"\.probe-[0-9a-f]{6}"
_WILDCARDS = re.compile(r"[*?\[]")


class File(NamedTuple):
    """A file of a corpus.

    If its size cannot be read, the size is 0 and the version is `NO_VERSION`. Reading the file then gives the error.

    Attributes:
        uri: path or URI of the file.
        size_bytes: size of the file in bytes.
        source_version: size and modification time, or generation of an object; changes when the file changes.
    """

    uri: str
    size_bytes: int
    source_version: str

    @property
    def is_there(self) -> bool:
        """Whether the size of the file could be read."""
        return self.source_version != NO_VERSION

    def ref(
        self,
        utterance_id: str,
        columns: Mapping[str, str] | None = None,
        span: Span = WHOLE,
        archive: ArchiveKind | None = None,
        channel: int | None = None,
    ) -> AudioRef:
        """Returns the utterance that is this file, or a span or a channel of it.

        The version contains the span and the channel, so that an utterance is scored again when its manifest is corrected.
        """
        name = utterance_id if utterance_id.isascii() else printable(utterance_id)
        version = self.source_version
        if span != WHOLE:
            version += f"@{span.start_s:.6f}-{'' if span.end_s is None else f'{span.end_s:.6f}'}"
        if channel is not None:
            version += f"#{channel}"
        return AudioRef(name, self.uri, self.size_bytes, version, columns or {}, span, archive, channel)


def absolute(path: str) -> str:
    """Returns a local path as an absolute path with `~` expanded, and a path with a scheme as it is."""
    return os.path.abspath(os.path.expanduser(path)) if is_local(path) else path  # noqa: PTH100, PTH111 -- it may be a pattern


def is_local(path: str) -> bool:
    """Returns whether a path has no scheme."""
    return FileSystems.get_scheme(path) is None


def is_directory(path: str) -> bool:
    """Returns whether a path is a directory. A remote path counts as one unless it is a file: buckets have no directories."""
    if is_local(path):
        return Path(path).is_dir()
    return path.endswith("/") or not (has_wildcards(path) or FileSystems.exists(path))


def has_wildcards(path: str) -> bool:
    """Returns whether a path contains `*`, `?` or `[`. The name of an existing file may contain them, too."""
    # In the address of a web page, `?` starts the query.
    return bool(_WILDCARDS.search(path.replace("?", "") if is_web(path) else path))


def is_web(path: str) -> bool:
    """Returns whether a path is an address on the web, where files are looked up one by one."""
    return FileSystems.get_scheme(path) in WEB


def glob_root(pattern: str) -> str:
    """Returns the last directory before the first wildcard."""
    return _WILDCARDS.split(pattern, maxsplit=1)[0].rpartition("/")[0]


def literally(path: str) -> str:
    """Returns the pattern that matches a path and nothing else."""
    if is_web(path) and not has_wildcards(path):
        return path
    return _WILDCARDS.sub(lambda wildcard: f"[{wildcard[0]}]", path)


def probe(folder: str) -> None:
    """Creates a folder, and creates and deletes a file in it, to find out whether a run can write there.

    Raises:
        OSError: one of these steps fails.
        ValueError: there is no such filesystem.
    """
    path = FileSystems.join(folder, f".probe-{secrets.token_hex(3)}")
    FileSystems.create(path).close()
    FileSystems.delete([path])


def match(pattern: str) -> Iterator[File]:
    """Yields the files whose paths match a Beam pattern: `**` matches any depth.

    Raises:
        OSError: the files cannot be listed.
        StorageError: the storage does not answer.
    """
    if is_object_storage(pattern):
        # Beam's own listing keeps all names in memory, and its times depend on the machine's time zone.
        matches = re.compile(FileSystems.get_filesystem(pattern).translate_pattern(pattern)).match
        prefix = _WILDCARDS.split(pattern, maxsplit=1)[0]
        # A single `*` matches no slash: then no folders below the prefix need to be listed.
        deep = bool(re.search(r"\*\*|[?\[/]", pattern.removeprefix(prefix)))
        yield from (file for file in _objects(prefix, deep) if matches(file.uri))
        return
    for metadata in FileSystems.match([pattern])[0].metadata_list:
        if not _is_folder_marker(metadata.path):
            size_bytes = metadata.size_in_bytes
            version = getattr(metadata, "source_version", None)
            version = version or version_of_time(size_bytes, metadata.last_updated_in_seconds)
            yield File(metadata.path, size_bytes, version)


def would_match(pattern: str, path: str) -> bool:
    """Returns whether a pattern with wildcards would match a file at a path."""
    if not has_wildcards(pattern):
        return False
    return bool(re.match(FileSystems.get_filesystem(pattern).translate_pattern(pattern), path))


def look_at(path: str) -> File:
    """Returns a local file with its size and version."""
    try:
        status = stat_long(path) if is_long(path) else os.stat(path)  # noqa: PTH116 -- a hot loop over all files
    except OSError:
        return File(path, 0, NO_VERSION)
    return File(path, status.st_size, version_of_time(status.st_size, status.st_mtime))


def walk(root: str) -> Iterator[File]:
    """Yields all files below a directory, also behind links. A directory that cannot be opened is yielded as a file.

    Raises:
        OSError: the files cannot be listed.
        StorageError: the storage does not answer.
    """
    if is_object_storage(root):
        yield from stream(Place(root, deep=True))
        return
    if not is_local(root):
        yield from match(root + "/**")
        return
    unreadable: list[OSError] = []
    for folder, names in _folders(root, unreadable):
        for name in names:
            yield look_at(os.path.join(folder, name))  # noqa: PTH118 -- a hot loop over all files
    for error in unreadable:
        # A folder whose path is too long for the system can still be opened folder by folder.
        path = error.filename
        yield from map(look_at, files_below(path)) if is_long(path) else [File(path, 0, NO_VERSION)]


def unreadable_folders(root: str) -> list[OSError]:
    """Returns the errors of the folders in a local directory, also behind links, that cannot be listed."""
    unreadable: list[OSError] = []
    for _ in _folders(root, unreadable):
        pass
    return unreadable


def _folders(root: str, unreadable: list[OSError]) -> Iterator[tuple[str, list[str]]]:
    """Yields each folder in a local directory, also behind links, with the names of its files.

    Args:
        root: the directory.
        unreadable: list to which the errors of folders that cannot be listed are added.
    """
    real_root = os.path.realpath(root)
    visited = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=unreadable.append):
        # A link may lead to a visited folder, which would be a cycle, or to a folder that contains the corpus.
        real = os.path.realpath(folder)
        if real in visited or (real != real_root and f"{real_root}/".startswith(f"{real}/")):
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        yield folder, names


class Place(NamedTuple):
    """A part of a corpus that one worker lists.

    Attributes:
        folder: folder to list.
        deep: whether to list the folders below it, too.
    """

    folder: str
    deep: bool


def places_in(folder: str, most: int) -> Iterator[Place]:
    """Divides a folder, level by level, into places that together contain each file once.

    Args:
        folder: folder to divide. A folder that is not on object storage becomes one place.
        most: number of places at which to stop; the subfolders of the last divided folder may exceed it.

    Raises:
        OSError: the files cannot be listed.
        StorageError: the storage does not answer.
    """
    if not is_object_storage(folder):
        yield Place(folder, deep=True)
        return
    undivided = deque([folder])
    num_places = 0
    while undivided and num_places + len(undivided) < most:
        parent = undivided.popleft()
        children = folders_in(parent)
        yield Place(parent, deep=not children)
        num_places += 1
        undivided.extend(children)
    for leaf in undivided:
        yield Place(leaf, deep=True)


def stream(place: Place) -> Iterator[File]:
    """Yields the files in a place.

    Raises:
        OSError: the files cannot be listed.
        StorageError: the storage does not answer.
    """
    if is_object_storage(place.folder):
        yield from _objects(f"{place.folder.rstrip('/')}/", place.deep)
    else:
        yield from walk(place.folder)


def _objects(uri_prefix: str, deep: bool) -> Iterator[File]:
    for uri, size_bytes, source_version in objects(uri_prefix, deep):
        if not _is_folder_marker(uri):
            yield File(uri, size_bytes, source_version)


def _is_folder_marker(uri: str) -> bool:
    """Returns whether an object is only the marker of a folder, which consoles create."""
    return uri.endswith("/")


def _join(root: str, path: str) -> str:
    """Returns a path below a root. Beam's own function takes 30 microseconds, which counts for a million rows."""
    return os.path.join(root, path) if root.startswith("/") else FileSystems.join(root, path)  # noqa: PTH118 -- a str


def _spellings(path: str) -> Iterator[str]:
    """Yields a path, and then its other spellings: without blanks around it, with slashes, in the other forms of Unicode.

    Manifests come from Windows, or from macOS, whose names are in NFD when they are copied, and in NFC when they are typed.
    """
    yield path
    if is_web(path):
        return
    stripped = path.strip(" \t")
    others = [stripped, stripped.replace("\\", "/")]
    others += [unicodedata.normalize(form, other) for other in (path, *others) for form in ("NFC", "NFD")]
    yield from (other for other in dict.fromkeys(others) if other and other != path)


# Files that a finder remembers. The spans of a recording mostly follow each other, so that more would only take memory.
_MOST_FILES = 100_000


class Finder:
    """Finds the files that a manifest names. Reads the size of each file once, even if it has many spans.

    Files in buckets are looked up a directory at a time: a request for each of a million files would take hours.

    Args:
        roots: directories that relative paths may refer to. The first one that contains the file is used, or else the first.
    """

    def __init__(self, *roots: str) -> None:
        self._roots = roots
        self._files: dict[str, File] = {}
        self._listings: dict[str, dict[str, File]] = {}

    def find(self, path: str) -> File:
        """Returns the file at a path, whether or not it exists.

        Raises:
            SourceError: no file can have such a path, or no filesystem has its scheme. The caller adds the manifest and the
                line to the message.
        """
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= _MOST_FILES:
                self._files.clear()
            try:
                file = self._files[path] = self._search(path)
            except (OSError, ValueError) as error:
                raise SourceError(f"the path {path!r} cannot be looked up ({error})") from error
        return file

    def _search(self, path: str) -> File:
        path.encode("utf-8", "surrogateescape")  # raises for half of a surrogate pair, which JSON can contain
        first = None
        for spelling in _spellings(path):
            candidates = self._candidates(spelling)
            file = next((file for file in candidates if file.is_there), None)
            if file is not None:
                return file
            first = first or candidates[0]
        return first or File(path, 0, NO_VERSION)

    def _candidates(self, path: str) -> list[File]:
        if path.startswith("/") or not is_local(path):
            return [self._look_at(path)]
        return [self._look_at(_join(root, path)) for root in self._roots]

    def _look_at(self, path: str) -> File:
        if is_local(path):
            return look_at(path)
        if is_web(path):
            # The files of a manifest may be on many servers. One that fails costs its own recordings only.
            with contextlib.suppress(OSError):
                return next(match(path), None) or File(path, 0, NO_VERSION)
            return File(path, 0, NO_VERSION)
        folder = path.rpartition("/")[0]
        if folder not in self._listings:
            self._listings[folder] = {file.uri: file for file in match(literally(folder) + "/*")}
        return self._listings[folder].get(path) or File(path, 0, NO_VERSION)
