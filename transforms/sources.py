"""What is in a corpus: directories, globs, single files and manifests become `AudioRef`s. No recording is opened here."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from transforms.records import AudioRef

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
    if source.endswith(MANIFEST_SUFFIX):
        refs = _read_manifest(source)
    elif re.search(r"[*?\[]", source) and not _is_local_path(source):
        refs = _relative_refs(_glob_root(source), list(_match(source)))
    elif _is_directory(source):
        refs = _relative_refs(source, list(_walk(source)))
    else:
        refs = [_ref(FileSystems.split(source)[1], file) for file in _match(source)]
    if not refs:
        exists = _is_directory(source)
        raise SourceError(
            f"{source}: " + ("the directory holds no file" if exists else "there is no such file or directory")
        )
    twice = [name for name, count in Counter(ref.utterance_id for ref in refs).items() if count > 1]
    if twice:
        raise SourceError(
            f"{source}: {len(twice)} utterance ids stand more than once, {twice[0]!r} first; ids must be unique"
        )
    return sorted(refs, key=lambda ref: ref.utterance_id)


# (uri, size in bytes, time of modification in seconds)
_File = tuple[str, int, float]


def _ref(utterance_id: str, file: _File, columns: dict[str, str] | None = None) -> AudioRef:
    uri, size, modified = file
    return AudioRef(utterance_id, uri, size, f"{size}-{modified:.6f}", columns or {})


def _relative_refs(root: str, files: list[_File]) -> list[AudioRef]:
    prefix = root.rstrip("/") + "/"
    return [_ref(file[0].removeprefix(prefix), file) for file in files]


def _is_local(source: str) -> bool:
    return FileSystems.get_scheme(source) is None


def _is_local_path(source: str) -> bool:
    """Whether a local file or directory has just this name, be there `*` or `[` in it."""
    return _is_local(source) and Path(source).exists()


def _is_directory(source: str) -> bool:
    if _is_local(source):
        return Path(source).is_dir()
    return source.endswith("/") or not FileSystems.exists(source)


def _walk(root: str) -> Iterator[_File]:
    """Every file below a directory."""
    if not _is_local(root):
        yield from _match(root.rstrip("/") + "/**")
        return
    for folder, _, names in os.walk(root):
        for name in names:
            yield _stat(os.path.join(folder, name))  # noqa: PTH118 -- a hot loop over all files


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
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0] or "."


def _read_manifest(uri: str) -> list[AudioRef]:
    if not FileSystems.exists(uri):
        raise SourceError(f"{uri}: there is no such manifest")
    with FileSystems.open(uri) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text)
        if PATH_COLUMN not in (reader.fieldnames or ()):
            raise SourceError(f"{uri}: a manifest needs a column {PATH_COLUMN!r}; its header is {reader.fieldnames}")
        rows = list(reader)
    root = FileSystems.split(uri)[0]
    refs = []
    for number, row in enumerate(rows, start=2):
        path = row.pop(PATH_COLUMN)
        if not path:
            raise SourceError(f"{uri}, line {number}: the path is empty")
        absolute = path.startswith("/") or not _is_local(path)
        target = path if absolute else FileSystems.join(root, path)
        file = _stat(target) if _is_local(target) else next(_match(target), (target, 0, 0.0))
        refs.append(_ref(row.pop(ID_COLUMN, None) or path, file, row))
    return refs
