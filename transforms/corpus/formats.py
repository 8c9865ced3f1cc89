"""Recognises the form of the corpus of an output, so that kept utterances can be listed in the same form."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import duckdb
import pyarrow as pa

from transforms.corpus.archives.parquet import lacks_bytes
from transforms.corpus.archives.reading import ARCHIVE_SUFFIXES, archive_kind_of, holds_audio
from transforms.corpus.columns import is_span_column
from transforms.corpus.layout import MANIFEST, Source
from transforms.corpus.layouts.registry import find_layout
from transforms.corpus.parquet_rows import ParquetTable
from transforms.elements import LISTED_MARK, archives_of
from transforms.errors import SourceError
from transforms.storage.files import glob_root, has_wildcards, is_directory, is_local, match
from transforms.storage.text_files import open_text

_JSON_KEY = re.compile(r'"(\w{3,20})"\s*:')
# Matches the URI of an archive up to the `#` before the name of a member.
_SUFFIXES = ARCHIVE_SUFFIXES
_MEMBER = rf"(?i)^(.*?(?:{'|'.join(map(re.escape, _SUFFIXES))})#)"


@dataclasses.dataclass(frozen=True)
class SourceKind:
    """The form of a corpus.

    Attributes:
        format: format of its manifest, a key of `manifest_formats.FORMATS`.
        has_spans: whether it lists spans of recordings.
    """

    format: str
    has_spans: bool


_PATHS = SourceKind("paths", has_spans=False)


def source_kind(source: str) -> SourceKind | None:
    """Returns the form of a corpus, as `sources.list_corpus` recognises it. Archives in it count as files.

    Args:
        source: the corpus, as `--input` named it.

    Returns:
        Form of the corpus; None if it was deleted or can no longer be read.
    """
    try:
        return _source_kind(source)
    except (OSError, ValueError, pa.ArrowException):  # includes the errors of Beam and SourceError
        return None


def _source_kind(source: str) -> SourceKind | None:
    exists = is_local(source) and Path(source).exists()
    is_glob = has_wildcards(source) and not exists
    if is_glob and not MANIFEST.search(source):
        return _PATHS if not is_local(source) or Path(glob_root(source)).exists() else None
    place = Source(source.rstrip("/") or "/")
    if not is_glob and (layout := find_layout(place)):
        return SourceKind(layout.kept_format(place), layout.has_spans(place))
    if is_directory(source):
        return _PATHS if exists or not is_local(source) else None
    kinds = [_file_kind(uri) for uri in (sorted(file.uri for file in match(source)) if is_glob else [source])]
    return SourceKind(kinds[0].format, any(kind.has_spans for kind in kinds)) if kinds else None


def _file_kind(uri: str) -> SourceKind:
    source = Source(uri)
    if not source.exists:
        raise OSError(f"{uri} was deleted")
    if layout := find_layout(source):
        return SourceKind(layout.kept_format(source), layout.has_spans(source))
    if source.kind in ("csv", "tsv"):
        header = source.header("\t" if source.kind == "tsv" else ",")
        return SourceKind(source.kind, any(map(is_span_column, header)))
    if source.kind in ("json", "jsonl"):
        if not source.first_row:
            raise SourceError(f"{uri}: no line is a JSON object")
        with open_text(uri, "replace") as text:
            names = (name for line in text for name in _JSON_KEY.findall(line))
            return SourceKind("jsonl", any(map(is_span_column, names)))
    if source.kind == "parquet" and (not holds_audio(uri) or lacks_bytes(uri)[1]):
        return SourceKind("parquet", any(map(is_span_column, ParquetTable(uri).names)))
    return _PATHS


def is_listing(connection: duckdb.DuckDBPyConnection) -> bool:
    """Returns whether no utterance is a span and each id ends its recording's path, as for a directory or a glob."""
    name = r"regexp_replace(utterance_id, '#ch\d+$', '')"
    ((others,),) = connection.execute(
        f"SELECT count(*) FROM utterances WHERE start_s <> 0 OR NOT ends_with(uri, concat('/', {name}))"
    ).fetchall()
    return others == 0


def lists_spans(connection: duckdb.DuckDBPyConnection) -> bool:
    """Returns whether an utterance is a span of its recording, as its version says."""
    ((found,),) = connection.execute(
        "SELECT count(*) > 0 FROM utterances "
        f"WHERE contains(source_version, '@') AND NOT contains(source_version, '{LISTED_MARK}')"
    ).fetchall()
    return bool(found)


def find_archives(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Returns the archives that hold the utterances.

    Args:
        connection: connection with the table `utterances`, whose uri is `ARCHIVE#MEMBER` for a member of an archive.

    Returns:
        Table with the columns `begins` (value of `archive_begins` for all members of an archive), `archive` (URI of the
        archive) and `kind` ("tar", "parquet" or "arrow").
    """
    rows = connection.execute(f"""
        SELECT begins, min(uri) FROM (SELECT uri, {archive_begins("uri")} AS begins FROM utterances)
        WHERE begins <> '' GROUP BY begins
    """).fetchall()
    archives = [(begins, archive) for begins, uri in rows if (archive := _archive(uri)) is not None]
    return pa.table(
        {
            "begins": pa.array([begins for begins, _ in archives], pa.string()),
            "archive": pa.array([archive for _, archive in archives], pa.string()),
            "kind": pa.array(
                [archive_kind_of(archive) for _, archive in archives],
                pa.string(),
            ),
        }
    )


def archive_begins(uri: str) -> str:
    """Returns SQL for the start of a uri up to the first `#` after an archive's suffix; empty if there is none."""
    return f"regexp_extract({uri}, '{_MEMBER}', 1)"


def _archive(uri: str) -> str | None:
    """Returns the archive in a uri: the first candidate that exists, or else the first; None if the uri is a file."""
    candidates = [name for name in archives_of(uri) if name.lower().endswith(_SUFFIXES)]
    if is_local(uri):
        if Path(uri).exists():  # a file whose name looks like a member of an archive
            return None
        candidates = [name for name in candidates if Path(name).is_file()] or candidates
    return candidates[0]
