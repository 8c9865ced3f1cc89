"""In which kind of corpus an output's utterances came, so that what is kept of them can be listed in the same."""

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
# What may be an archive's name, with the sign behind which its member's follows.
_SUFFIXES = (*TAR_SUFFIXES, PARQUET_SUFFIX)
_MEMBER = rf"(?i)^(.*?(?:{'|'.join(map(re.escape, _SUFFIXES))})#)"


@dataclasses.dataclass(frozen=True)
class SourceKind:
    """How a corpus is kept.

    Attributes:
        format: its manifest's, as a key of `manifest_writers.FORMATS`.
        has_spans: whether it lists spans of recordings, and not only whole ones.
    """

    format: str
    has_spans: bool


def source_kind(source: str) -> SourceKind | None:
    """What a corpus is, as `sources.list_corpus` would understand it; archives in it count as files.

    Args:
        source: as `--input` named it.

    Returns:
        None where it is gone, or cannot be read any more.
    """
    try:
        return _source_kind(source)
    except (OSError, ValueError, pa.ArrowException):  # Beam's own errors and a SourceError among them
        return None


def _source_kind(source: str) -> SourceKind | None:
    there = is_local(source) and Path(source).exists()
    if source.endswith(f"/{WAV_SCP}"):
        return _kaldi(FileSystems.split(source)[0])
    if is_directory(source):
        root = source.rstrip("/") or "/"
        if is_data_directory(root):
            return _kaldi(root)
        return SourceKind("paths", has_spans=False) if there or not is_local(source) else None
    several = has_wildcards(source) and not there
    if several and not MANIFEST.search(source):
        return (
            SourceKind("paths", has_spans=False) if not is_local(source) or Path(glob_root(source)).exists() else None
        )
    manifests = sorted(file.uri for file in match(source)) if several else [source]
    kinds = [_manifest_kind(uri) for uri in manifests]
    if not kinds:
        return None
    return SourceKind(kinds[0].format, any(kind.has_spans for kind in kinds))


def _kaldi(folder: str) -> SourceKind:
    return SourceKind("kaldi", FileSystems.exists(FileSystems.join(folder, "segments")))


def _manifest_kind(uri: str) -> SourceKind:
    if not FileSystems.exists(uri):
        raise OSError(f"{uri} is gone")
    found = MANIFEST.search(uri)
    kind = "" if found is None else (found[1] or found[2]).lower()
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
    """Whether all ids are ends of the paths of their recordings, as they are in a corpus that is a directory or a glob."""
    name = r"regexp_replace(utterance_id, '#ch\d+$', '')"
    ((others,),) = connection.execute(
        f"SELECT count(*) FROM utterances WHERE start_s <> 0 OR NOT ends_with(uri, concat('/', {name}))"
    ).fetchall()
    return others == 0


def find_archives(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The archives that utterances lie in.

    Args:
        connection: with `utterances`, whose uri is `ARCHIVE#MEMBER` for a member of an archive.

    Returns:
        `begins`, as `archive_begins` finds it in the uris of an archive's members, the `archive`, and its `kind`, "tar" or
        "parquet".
    """
    rows = connection.execute(f"""
        SELECT {archive_begins("uri")} AS begins, min(uri) FROM utterances WHERE begins <> '' GROUP BY begins
    """).fetchall()
    found = [(begins, archive) for begins, uri in rows if (archive := _archive(uri)) is not None]
    return pa.table(
        {
            "begins": pa.array([begins for begins, _ in found], pa.string()),
            "archive": pa.array([archive for _, archive in found], pa.string()),
            "kind": pa.array(
                [
                    ArchiveKind.PARQUET if archive.lower().endswith(PARQUET_SUFFIX) else ArchiveKind.TAR
                    for _, archive in found
                ],
                pa.string(),
            ),
        }
    )


def archive_begins(uri: str) -> str:
    """SQL for what a uri has up to the first sign that may part an archive from its member; empty where there is none."""
    return f"regexp_extract({uri}, '{_MEMBER}', 1)"


def _archive(uri: str) -> str | None:
    """The archive that a uri points into: the first that is there, or, where none is, the first that its name allows."""
    candidates = [name for name in archives_of(uri) if name.lower().endswith(_SUFFIXES)]
    if is_local(uri):
        if Path(uri).exists():  # a file with a strange name
            return None
        candidates = [name for name in candidates if Path(name).is_file()] or candidates
    return candidates[0]
