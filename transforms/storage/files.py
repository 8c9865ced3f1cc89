"""Files in any filesystem that Beam knows: what is there, how large and how new it is."""

from __future__ import annotations

import os
import re
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from apache_beam.io.filesystems import FileSystems

from transforms.elements import WHOLE, AudioRef, Span, printable
from transforms.errors import SourceError
from transforms.storage.gcs_listing import folders_in, is_object_storage, objects

# Names of the files of `probe`, which one that could not delete its own leaves.
PROBE = r"\.probe-[0-9a-f]{6}"
_WILDCARDS = re.compile(r"[*?\[]")


class File(NamedTuple):
    """A file that is there, or that could not be looked at: size 0 and version "0-0.000000", and reading it will tell.

    Attributes:
        uri: where it is.
        size_bytes: how large.
        source_version: changes when the file does.
    """

    uri: str
    size_bytes: int
    source_version: str

    @property
    def is_there(self) -> bool:
        """Whether it could be looked at."""
        return self.source_version != _NO_VERSION

    def ref(
        self,
        utterance_id: str,
        columns: Mapping[str, str] | None = None,
        span: Span = WHOLE,
        archive: str | None = None,
        channel: int | None = None,
    ) -> AudioRef:
        """The utterance that is this file, or a span or channel of it, which its version tells too: manifests are mended."""
        name = utterance_id if utterance_id.isascii() else printable(utterance_id)
        version = self.source_version
        if span != WHOLE:
            version += f"@{span.start_s:.6f}-{'' if span.end_s is None else f'{span.end_s:.6f}'}"
        if channel is not None:
            version += f"#{channel}"
        return AudioRef(name, self.uri, self.size_bytes, version, columns or {}, span, archive, channel)


def version_of_file(source_version: str) -> str:
    """Of the version of an utterance, what tells that of its file: without the span and the channel."""
    return re.split("[@#]", source_version, maxsplit=1)[0]


def _file(uri: str, size_bytes: int, modified_s: float) -> File:
    return File(uri, size_bytes, f"{size_bytes}-{modified_s:.6f}")


_NO_VERSION = _file("", 0, 0.0).source_version


def absolute(path: str) -> str:
    """A local path from the root of this machine on, `~` expanded; a path with a scheme as it is."""
    return os.path.abspath(os.path.expanduser(path)) if is_local(path) else path  # noqa: PTH100, PTH111 -- no Path: `*`


def is_local(path: str) -> bool:
    """Whether a path has no scheme."""
    return FileSystems.get_scheme(path) is None


def is_directory(path: str) -> bool:
    """Whether a path is a directory; a remote one is taken for it if it is no file, since buckets have none."""
    if is_local(path):
        return Path(path).is_dir()
    return path.endswith("/") or not (has_wildcards(path) or FileSystems.exists(path))


def has_wildcards(path: str) -> bool:
    """Whether there is a `*`, `?` or `[` in it, which for a file that is there are mere letters."""
    return bool(_WILDCARDS.search(path))


def glob_root(pattern: str) -> str:
    """The last directory before the first wildcard."""
    return _WILDCARDS.split(pattern, maxsplit=1)[0].rpartition("/")[0]


def literally(path: str) -> str:
    """The pattern that matches a path and nothing else."""
    return _WILDCARDS.sub(lambda found: f"[{found[0]}]", path)


def probe(folder: str) -> None:
    """Makes a folder, writes a file into it, and removes the file.

    Raises:
        OSError: one of these does not work.
        ValueError: there is no such filesystem.
    """
    path = FileSystems.join(folder, f".probe-{secrets.token_hex(3)}")
    FileSystems.create(path).close()
    FileSystems.delete([path])


def match(pattern: str) -> Iterator[File]:
    """The files whose names match a pattern as Beam understands it: `**` reaches any depth."""
    if is_object_storage(pattern):
        # Not by Beam, which keeps all names in memory, and whose times depend on the machine's time zone.
        wanted = re.compile(FileSystems.get_filesystem(pattern).translate_pattern(pattern))
        known = _WILDCARDS.split(pattern, maxsplit=1)[0]
        # What a single `*` stands for ends at a slash: then nothing behind one needs to be listed.
        deep = bool(re.search(r"\*\*|[?\[/]", pattern.removeprefix(known)))
        yield from (file for file in _objects(known, deep) if wanted.match(file.uri))
        return
    for found in FileSystems.match([pattern])[0].metadata_list:
        if found.path.endswith("/"):
            continue  # what consoles make to show a folder in a bucket
        yield _file(found.path, found.size_in_bytes, found.last_updated_in_seconds)


def would_match(pattern: str, path: str) -> bool:
    """Whether a file at that path would be among those that a pattern stands for."""
    if not has_wildcards(pattern):
        return False
    return bool(re.match(FileSystems.get_filesystem(pattern).translate_pattern(pattern), path))


def look_at(path: str) -> File:
    """A local file."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a hot loop over all files
    except OSError:
        return File(path, 0, _NO_VERSION)
    return _file(path, status.st_size, status.st_mtime)


def walk(root: str) -> Iterator[File]:
    """Every file below a directory, links to other directories followed. One that cannot be opened is itself a file."""
    if is_object_storage(root):
        yield from stream(Place(root, deep=True))
        return
    if not is_local(root):
        yield from match(root + "/**")
        return
    closed: list[str] = []
    real_root = os.path.realpath(root)
    visited = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=lambda error: closed.append(error.filename)):
        # A link may lead to what was visited, and so round in a circle, or to all that the corpus lies in.
        real = os.path.realpath(folder)
        if real in visited or (real != real_root and f"{real_root}/".startswith(f"{real}/")):
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        for name in names:
            yield look_at(os.path.join(folder, name))  # noqa: PTH118 -- a hot loop over all files
    for path in closed:
        yield File(path, 0, _NO_VERSION)


class Place(NamedTuple):
    """A part of a corpus that one worker lists.

    Attributes:
        folder: where.
        deep: whether what is in folders below it counts too.
    """

    folder: str
    deep: bool


def places_in(folder: str, most: int) -> Iterator[Place]:
    """Cuts a folder into places that hold each of its files once, by its folders, level by level.

    Args:
        folder: on object storage; anything else is one place.
        most: places that are wanted; a level that has more gives more.
    """
    if not is_object_storage(folder):
        yield Place(folder, deep=True)
        return
    waiting = deque([folder])
    found = 0
    while waiting and found + len(waiting) < most:
        place = waiting.popleft()
        inside = folders_in(place)
        yield Place(place, deep=not inside)
        found += 1
        waiting.extend(inside)
    for place in waiting:
        yield Place(place, deep=True)


def stream(place: Place) -> Iterator[File]:
    """The files in a place, one by one."""
    if is_object_storage(place.folder):
        yield from _objects(f"{place.folder.rstrip('/')}/", place.deep)
    else:
        yield from walk(place.folder)


def _objects(beginning: str, deep: bool) -> Iterator[File]:
    for uri, size_bytes, modified_s in objects(beginning, deep):
        if not uri.endswith("/"):  # what consoles make to show a folder
            yield _file(uri, size_bytes, modified_s)


class Finder:
    """Finds the files that a manifest names, and looks at each once, however many of its spans are named.

    Files in buckets are looked at a directory at a time: a request for each of a million would take hours.
    """

    def __init__(self, *roots: str) -> None:
        """Takes the directories to which paths may be relative; the first that has the file counts, or else the first."""
        self._roots = roots
        self._found: dict[str, File] = {}
        self._listed: dict[str, dict[str, File]] = {}

    def find(self, path: str) -> File:
        """The file that a path leads to, be it there or not.

        Raises:
            SourceError: no file can have such a name, or no filesystem is known for it. The message lacks the manifest
                and the line, which the caller knows.
        """
        file = self._found.get(path)
        if file is None:
            try:
                file = self._found[path] = self._search(path)
            except (OSError, ValueError) as error:
                raise SourceError(f"the path {path!r} cannot be looked up ({error})") from error
        return file

    def _search(self, path: str) -> File:
        path.encode("utf-8", "surrogateescape")  # raises for what json makes of half a character
        if path.startswith("/") or not is_local(path):
            return self._look_at(path)
        candidates = [self._look_at(FileSystems.join(root, path)) for root in self._roots]
        return next((file for file in candidates if file.is_there), candidates[0])

    def _look_at(self, path: str) -> File:
        if is_local(path):
            return look_at(path)
        folder = path.rpartition("/")[0]
        if folder not in self._listed:
            self._listed[folder] = {file.uri: file for file in match(literally(folder) + "/*")}
        return self._listed[folder].get(path) or File(path, 0, _NO_VERSION)
