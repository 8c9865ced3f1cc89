"""What is in a corpus: directories, globs, single files and manifests become `AudioRef`s. No recording is opened here."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apache_beam.io.filesystems import FileSystems

from transforms.records import AudioRef, printable

MANIFEST_SUFFIX = ".csv"
PATH_COLUMN = "path"
ID_COLUMN = "id"


class SourceError(ValueError):
    """A corpus that cannot be listed."""


def list_corpus(source: str) -> list[AudioRef]:
    """Lists a corpus, sorted by utterance id.

    Args:
        source: a directory (every file below it counts, whatever its name), a glob, a single audio file, or a manifest: a
            CSV file with a header, a column `path` (relative to the manifest, or absolute) and optionally `id`.

    Raises:
        SourceError: nothing is there, the manifest lacks a column, or two utterances have the same id.
    """
    if not source:
        raise SourceError("the corpus has an empty name")
    source = absolute(source)
    try:
        refs = _list_refs(source)
    except SourceError:
        raise
    except (OSError, ValueError) as error:  # Beam's own; a ValueError where the extra for a scheme is not installed
        raise SourceError(f"{source}: cannot be listed ({error})") from error
    if not refs:
        raise SourceError(f"{source}: " + ("the directory holds no file" if _is_directory(source) else _NOTHING))
    twice = [name for name, count in Counter(ref.utterance_id for ref in refs).items() if count > 1]
    if twice:
        raise SourceError(
            f"{source}: {len(twice)} utterance ids stand more than once, {twice[0]!r} first; ids must be unique"
        )
    return sorted(refs, key=lambda ref: ref.utterance_id)


def absolute(path: str) -> str:
    """A local path from the root of this machine on, `~` expanded; a path with a scheme as it is."""
    return os.path.abspath(os.path.expanduser(path)) if _is_local(path) else path  # noqa: PTH100, PTH111 -- no Path: `*`


_NOTHING = "there is no such file or directory"
# (uri, size in bytes, time of modification in seconds)
_File = tuple[str, int, float]


def _list_refs(source: str) -> list[AudioRef]:
    local = _is_local(source)
    there = local and Path(source).exists()  # whatever its name, be there `*` or `[` in it
    if _is_directory(source):
        root = source.rstrip("/") or "/"
        return _relative_refs(root, _walk(root))
    if source.endswith(MANIFEST_SUFFIX):
        return _read_manifest(source)
    if there:
        return [_ref(Path(source).name, _stat(source))]
    if re.search(r"[*?\[]", source):
        return _relative_refs(_glob_root(source), _match(source))
    return [_ref(FileSystems.split(source)[1], file) for file in _match(source)]


def _ref(utterance_id: str, file: _File, columns: dict[str, str] | None = None) -> AudioRef:
    uri, size, modified = file
    return AudioRef(printable(utterance_id), uri, size, f"{size}-{modified:.6f}", columns or {})


def _relative_refs(root: str, files: Iterator[_File]) -> list[AudioRef]:
    prefix = root.rstrip("/") + "/"
    return [_ref(file[0].removeprefix(prefix), file) for file in files]


def _is_local(source: str) -> bool:
    return FileSystems.get_scheme(source) is None


def _is_directory(source: str) -> bool:
    if _is_local(source):
        return Path(source).is_dir()
    return source.endswith("/") or not (re.search(r"[*?\[]", source) or FileSystems.exists(source))


def _walk(root: str) -> Iterator[_File]:
    """Every file below a directory, links to other directories followed. One that cannot be opened is itself a file."""
    if not _is_local(root):
        yield from _match(root + "/**")
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
            yield _stat(os.path.join(folder, name))  # noqa: PTH118 -- a hot loop over all files
    for path in closed:
        yield path, 0, 0.0


def _stat(path: str) -> _File:
    """A local file's size and time; 0 for what cannot be looked at, which reading it will report."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a hot loop over all files
    except OSError:
        return path, 0, 0.0
    return path, status.st_size, status.st_mtime


def _match(pattern: str) -> Iterator[_File]:
    for found in FileSystems.match([pattern])[0].metadata_list:
        yield found.path, found.size_in_bytes, found.last_updated_in_seconds


def _glob_root(pattern: str) -> str:
    """The last directory before the first wildcard."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]


def _read_manifest(uri: str) -> list[AudioRef]:
    rows = _manifest_rows(uri)
    root = FileSystems.split(uri)[0]
    refs = []
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():  # the csv module's marks of too many cells and of too few
            raise SourceError(f"{uri}, line {number}: the row has not as many cells as the header")
        path = row.pop(PATH_COLUMN)
        if not path:
            raise SourceError(f"{uri}, line {number}: the path is empty")
        rooted = path.startswith("/") or not _is_local(path)
        target = path if rooted else FileSystems.join(root, path)
        file = _stat(target) if _is_local(target) else next(_match(target), (target, 0, 0.0))
        refs.append(_ref(row.pop(ID_COLUMN, None) or path, file, row))
    return refs


def _manifest_rows(uri: str) -> list[dict[str, Any]]:
    if not FileSystems.exists(uri):
        raise SourceError(f"{uri}: there is no such manifest")
    try:
        with FileSystems.open(uri) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{uri}: the manifest cannot be read as CSV in UTF-8 ({error})") from error
    if PATH_COLUMN not in columns:
        raise SourceError(
            f"{uri}: a manifest needs a column {PATH_COLUMN!r}; its header is {', '.join(columns) or 'empty'}"
        )
    if not rows:
        raise SourceError(f"{uri}: the manifest lists nothing")
    return rows
