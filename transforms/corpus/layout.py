"""A known layout of a corpus: how it is recognised, and how it is read."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from apache_beam.io.filesystems import FileSystems

from transforms.corpus.listing import BadRow, Listing
from transforms.corpus.rows import json_rows
from transforms.errors import SourceError
from transforms.storage.files import is_directory, is_local, walk
from transforms.storage.gcs.listing import is_object_storage
from transforms.storage.text_files import open_text

# Files that name spans or words of the recordings beside them.
ANNOTATION = re.compile(r"(?i)\.(?:stm|rttm|ctm)$")
# Suffixes of manifests. Group 1 holds the kinds that may be gzipped, group 2 the one that may not.
MANIFEST = re.compile(r"(?i)\.(?:(csv|tsv|jsonl|json|txt)(?:\.gz)?|(parquet))$")
# A line is read so far to recognise its layout.
_HEAD_CHARS = 1 << 20
# Rows of JSON that are tried, because the first ones may be broken.
_TRIED_ROWS = 100
# Limits of the sample of files by which trees are recognised.
_MOST_FOLDERS, _MOST_FILES, _MOST_ENTRIES = 150, 300, 5_000
# Objects in a bucket come in the order of their names: three requests.
_MOST_OBJECTS = 3_000
_NEAR, _NEAR_BRANCHES, _FAR_BRANCHES, _DEEPEST = 2, 8, 2, 7


class Source:
    """A folder or a file that may be a corpus. Its properties are read once, when they are needed.

    Args:
        uri: absolute path or URI, without a slash at its end.
        place: folder in which it is looked for, or above it; None if unknown.

    Attributes:
        uri: absolute path or URI.
    """

    def __init__(self, uri: str, place: Source | None = None) -> None:
        self.uri, self._in = uri, place
        self._is_listable = True

    @functools.cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return is_directory(self.uri)

    @property
    def folder(self) -> str:
        """The folder itself, or the folder of the file."""
        return self.uri if self.is_folder else FileSystems.split(self.uri)[0]

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.uri.rpartition("/")[2]

    @property
    def kind(self) -> str:
        """Format of a manifest by its suffix, such as "csv"; empty for other files and for folders."""
        suffix = MANIFEST.search(self.uri)
        return "" if suffix is None or self.is_folder else (suffix[1] or suffix[2]).lower()

    def file(self, *names: str) -> Source:
        """Returns a file or a folder in the folder."""
        return Source(FileSystems.join(self.folder, *names), self._place)

    @functools.cached_property
    def _place(self) -> Source:
        return self if self.is_folder else Source(self.folder)

    @functools.cached_property
    def folders(self) -> list[Source]:
        """Folders in a local folder; none in a bucket, where listing them may take long."""
        if not is_local(self.uri):
            return []
        try:
            with os.scandir(self.uri) as entries:
                return [Source(path) for path in sorted(entry.path for entry in entries if entry.is_dir())]
        except OSError:
            return []

    @functools.cached_property
    def sample(self) -> list[str]:
        """Paths of some files below a folder, relative to it; empty for storages where a listing takes long."""
        if not self.is_folder:
            return []
        try:
            if is_local(self.uri):
                return list(_sampled(self.uri, "", _MOST_FOLDERS))
            if is_object_storage(self.uri):
                return [
                    file.uri.removeprefix(f"{self.uri}/") for file in itertools.islice(walk(self.uri), _MOST_OBJECTS)
                ]
        except FileNotFoundError:
            pass
        except OSError:
            self._is_listable = False
        return []

    @property
    def is_sampled_whole(self) -> bool:
        """Whether `sample` has all files of a folder in a bucket."""
        return is_object_storage(self.uri) and len(self.sample) < _MOST_OBJECTS and self._is_listable

    def has_file(self, pattern: re.Pattern[str]) -> bool:
        """Returns whether a pattern is found in the path of one of the sampled files."""
        return any(map(pattern.search, self.sample))

    @functools.cached_property
    def exists(self) -> bool:
        """Whether there is such a file; for a local path, also a folder."""
        # One listing of a bucket's folder answers for all files that the layouts look for.
        if self._in is not None and self._in.is_sampled_whole:
            return self.uri.removeprefix(f"{self._in.uri}/") in self._in.sample
        return bool(FileSystems.exists(self.uri))

    @functools.cached_property
    def first_line(self) -> str:
        """First line of a text file that is not blank, without its end; empty if there is none."""
        try:
            with open_text(self.uri, "replace") as text:
                while line := text.readline(_HEAD_CHARS):
                    if line.strip():
                        return line.rstrip("\r\n")
        except SourceError:
            pass
        return ""

    @functools.cached_property
    def first_row(self) -> dict[str, Any]:
        """First object of JSON lines or of a JSON array; empty if there is none."""
        try:
            rows, _ = json_rows(self.uri)
            return next((row[1] for row in itertools.islice(rows, _TRIED_ROWS) if not isinstance(row, BadRow)), {})
        except SourceError:
            return {}

    def header(self, delimiter: str) -> list[str]:
        """Returns the cells of the first line."""
        return [cell.strip().strip('"') for cell in self.first_line.split(delimiter)]


def _sampled(root: str, folder: str, most_folders: int) -> Iterator[str]:
    """Yields paths of the first files of some folders: all branches near the root, and two of each folder below."""
    pending = [(folder, 0)]
    for _ in range(most_folders):
        if not pending:
            return
        folder, depth = pending.pop()
        folders = []
        files = 0
        with os.scandir(f"{root}/{folder}") as entries:
            for entry in itertools.islice(entries, _MOST_ENTRIES):
                if entry.is_dir():
                    folders.append(f"{folder}{entry.name}/")
                elif files < _MOST_FILES:
                    files += 1
                    yield folder + entry.name
        most = _NEAR_BRANCHES if depth < _NEAR else _FAR_BRANCHES
        if depth < _DEEPEST:
            pending += [(name, depth + 1) for name in sorted(folders, reverse=True)[-most:]]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A known layout.

    Attributes:
        name: name for messages.
        recognises: returns whether a folder or a file has the layout.
        read: adds its utterances to a listing.
        manifest_format: format in which `filter` lists kept utterances, a key of `curation.manifest_formats.FORMATS`.
        format_of: returns that format for a source whose tables may have several; None for `manifest_format`.
        has_columns: whether `--columns` can name its columns.
        has_spans: returns whether it lists spans of recordings.
    """

    name: str
    recognises: Callable[[Source], bool]
    read: Callable[[Source, Listing], None]
    manifest_format: str
    format_of: Callable[[Source], str] | None = None
    has_columns: bool = False
    has_spans: Callable[[Source], bool] = lambda _: False

    def kept_format(self, source: Source) -> str:
        """Returns the format in which `filter` lists kept utterances of a source."""
        return self.manifest_format if self.format_of is None else self.format_of(source)
