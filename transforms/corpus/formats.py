"""Recognises the form of the corpus of an output, so that kept utterances can be listed in the same form."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives import PARQUET_SUFFIX, TAR_SUFFIXES
from transforms.corpus.kaldi import WAV_SCP, is_data_directory
from transforms.corpus.lhotse import is_lhotse
from transforms.corpus.manifests import END_COLUMNS, START_COLUMNS
from transforms.corpus.parquet_archive import holds_audio
from transforms.corpus.sources import MANIFEST
from transforms.elements import ArchiveKind, archives_of
from transforms.storage.files import glob_root, has_wildcards, is_directory, is_local, match
from transforms.storage.text_files import json_lines, open_text

_SPAN_KEYS = (*START_COLUMNS, *END_COLUMNS)
_SPAN_KEY = re.compile(rf'"(?:{"|".join(_SPAN_KEYS)})"\s*:')
# Matches the URI of an archive up to the `#` before the name of a member.
_SUFFIXES = (*TAR_SUFFIXES, PARQUET_SUFFIX)
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
    if source.endswith(f"/{WAV_SCP}"):
        return _kaldi(FileSystems.split(source)[0])
    if is_directory(source):
        root = source.rstrip("/") or "/"
        if is_data_directory(root):
            return _kaldi(root)
        return SourceKind("paths", has_spans=False) if exists or not is_local(source) else None
    is_glob = has_wildcards(source) and not exists
    if is_glob and not MANIFEST.search(source):
        return (
            SourceKind("paths", has_spans=False) if not is_local(source) or Path(glob_root(source)).exists() else None
        )
    manifests = sorted(file.uri for file in match(source)) if is_glob else [source]
    kinds = [manifest_kind(uri) for uri in manifests]
    if not kinds:
        return None
    return SourceKind(kinds[0].format, any(kind.has_spans for kind in kinds))


def _kaldi(folder: str) -> SourceKind:
    return SourceKind("kaldi", FileSystems.exists(FileSystems.join(folder, "segments")))


def manifest_kind(uri: str) -> SourceKind:
    """Returns the form of a manifest.

    Raises:
        OSError, ValueError or pyarrow.ArrowException: it is gone or cannot be read.
    """
    if not FileSystems.exists(uri):
        raise OSError(f"{uri} was deleted")
    suffix = MANIFEST.search(uri)
    kind = "" if suffix is None else (suffix[1] or suffix[2]).lower()
    if kind in ("csv", "tsv"):
        with open_text(uri) as text:
            header = text.readline().strip("\r\n").replace('"', "").split("\t" if kind == "tsv" else ",")
        return SourceKind(kind, bool(set(header) & set(_SPAN_KEYS)))
    if kind in ("json", "jsonl"):
        return _json_kind(uri)
    if kind == "txt":
        return SourceKind("paths", has_spans=False)
    if kind == "parquet" and not holds_audio(uri):
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return SourceKind(kind, bool(set(pq.read_schema(file).names) & set(_SPAN_KEYS)))
    return SourceKind("paths", has_spans=False)


def _json_kind(uri: str) -> SourceKind:
    first = [row for _, row in itertools.islice(json_lines(uri), 1)]
    if first and is_lhotse(first[0]):
        return SourceKind("lhotse", "sources" not in first[0])
    with open_text(uri) as text:
        return SourceKind("jsonl", any(_SPAN_KEY.search(line) for line in text))


def is_listing(connection: duckdb.DuckDBPyConnection) -> bool:
    """Returns whether no utterance is a span and each id ends its recording's path, as for a directory or a glob."""
    name = r"regexp_replace(utterance_id, '#ch\d+$', '')"
    ((others,),) = connection.execute(
        f"SELECT count(*) FROM utterances WHERE start_s <> 0 OR NOT ends_with(uri, concat('/', {name}))"
    ).fetchall()
    return others == 0


def find_archives(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Returns the archives that hold the utterances.

    Args:
        connection: connection with the table `utterances`, whose uri is `ARCHIVE#MEMBER` for a member of an archive.

    Returns:
        Table with the columns `begins` (value of `archive_begins` for all members of an archive), `archive` (URI of the
        archive) and `kind` ("tar" or "parquet").
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
                [
                    ArchiveKind.PARQUET if archive.lower().endswith(PARQUET_SUFFIX) else ArchiveKind.TAR
                    for _, archive in archives
                ],
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
