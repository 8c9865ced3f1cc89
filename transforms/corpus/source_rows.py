"""Reads the rows of manifests once more, as they are, to find those of scored utterances and to copy them."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.formats import manifest_kind
from transforms.corpus.kaldi import WAV_SCP, data_rows, is_data_directory
from transforms.corpus.lhotse import entry_ref
from transforms.corpus.manifests import (
    DURATION_COLUMN,
    END_COLUMNS,
    ID_COLUMNS,
    PATH_COLUMNS,
    START_COLUMNS,
    CellTabs,
    row_ref,
)
from transforms.corpus.sources import MANIFEST
from transforms.elements import AudioRef, printable
from transforms.errors import SourceError
from transforms.storage.files import File, Finder, has_wildcards, is_directory, is_local, literally, look_at, match
from transforms.storage.text_files import lines, open_text

# Rows of a file are numbered from its place on.
FILE_ROWS = 1 << 40
_PARQUET_ROWS = 10_000
# Errors of manifests that are gone or cannot be read; a SourceError is a ValueError.
READ_ERRORS = (OSError, ValueError, pa.ArrowException)
_USED = (*PATH_COLUMNS, *ID_COLUMNS, *START_COLUMNS, *END_COLUMNS, DURATION_COLUMN)


@dataclasses.dataclass(frozen=True)
class Manifests:
    """The manifests that a corpus consists of.

    Attributes:
        format: their format, a key of `manifest_formats.FORMATS`.
        uris: URIs of the files; for Kaldi, the URI of the data directory.
    """

    format: str
    uris: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class RowKey:
    """What tells the utterance of a row from others.

    Attributes:
        utterance_id: id of the utterance.
        path: path of the recording, as the row has it.
        version: span and channel that the row names, as the end of a `source_version`.
    """

    utterance_id: str
    path: str
    version: str

    @classmethod
    def of(cls, ref: AudioRef) -> RowKey:
        """Returns the key of an utterance that `Unresolved` found."""
        return cls(ref.utterance_id, printable(ref.uri), ref.source_version)


class Unresolved(Finder):
    """Takes paths as they are, without looking at the files."""

    def __init__(self) -> None:
        super().__init__("")

    def find(self, path: str) -> File:
        """Returns a file without a size and a version."""
        return File(path, 0, "")


def open_manifests(source: str) -> Manifests | None:
    """Returns the manifests of a corpus; None if it has none, as a directory or a glob of recordings.

    Args:
        source: the corpus, as `--input` named it.

    Raises:
        OSError, ValueError or pyarrow.ArrowException: a manifest is gone or cannot be read.
        SourceError: as above; or the manifests have different formats.
    """
    uris = manifest_uris(source)
    if not uris:
        return None
    if is_directory(uris[0]):
        return Manifests("kaldi", uris)
    formats = {manifest_kind(uri).format for uri in uris}
    if len(formats) > 1:
        raise SourceError(f"{source}: the manifests have different formats ({', '.join(sorted(formats))})")
    (format,) = formats
    is_table_of_audio = format == "paths" and not all(_suffix(uri) == "txt" for uri in uris)
    return None if is_table_of_audio else Manifests(format, uris)


def manifest_uris(source: str) -> tuple[str, ...]:
    """Returns the URIs of the manifests of a corpus, sorted; for Kaldi, that of the data directory; empty without manifests."""
    if source.endswith(f"/{WAV_SCP}"):
        return (FileSystems.split(source)[0],)
    if is_directory(source):
        root = source.rstrip("/") or "/"
        return (root,) if is_data_directory(root) else ()
    if not MANIFEST.search(source):
        return ()
    is_glob = has_wildcards(source) and not (is_local(source) and look_at(source).is_there)
    return tuple(sorted(file.uri for file in match(source))) if is_glob else (source,)


def manifest_versions(source: str) -> dict[str, str]:
    """Returns the size and modification time of each manifest of a corpus; of a Kaldi directory, of each file in it."""
    try:
        versions: dict[str, str] = {}
        for uri in manifest_uris(source):
            if is_directory(uri):
                versions |= {file.uri: file.source_version for file in match(f"{literally(uri)}/*")}
            else:
                versions[uri] = (look_at(uri) if is_local(uri) else next(match(literally(uri)))).source_version
        return versions
    except (OSError, ValueError, StopIteration):
        return {}


def parquet_batches(uri: str, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yields batches of rows of a Parquet file, with the number of the first row of each, from 1.

    Args:
        uri: URI of the file.
        columns: names of the columns; None for all.
    """
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        number = 1
        for batch in pq.ParquetFile(file).iter_batches(_PARQUET_ROWS, columns=columns):
            yield number, batch
            number += len(batch)


def parquet_schema(uri: str) -> pa.Schema:
    """Returns the Arrow schema of a Parquet file."""
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return pq.read_schema(file)


def combined_schema(uris: Sequence[str]) -> pa.Schema:
    """Returns the schema that holds the columns of some Parquet files.

    Raises:
        pyarrow.ArrowException: a column has types that cannot be combined.
    """
    schemas = [parquet_schema(uri) for uri in uris]
    return schemas[0] if len(schemas) == 1 else pa.unify_schemas(schemas, promote_options="permissive")


def _suffix(uri: str) -> str:
    suffix = MANIFEST.search(uri)
    return "" if suffix is None else (suffix[1] or suffix[2]).lower()


# --- rows of a text file -----------------------------------------------------------------------------------------------


def table_header(uri: str, format: str) -> list[str]:
    """Returns the names of the columns of a CSV or TSV file."""
    with open_text(uri) as text:
        return next(csv.reader(text, _dialect(format)), [])


def table_rows(uri: str, format: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the line number and the cells of each row of a CSV or TSV file that has as many cells as the header.

    Raises:
        SourceError: the file cannot be read.
    """
    with open_text(uri) as text:
        reader = csv.reader(text, _dialect(format), strict=True)
        try:
            width = len(next(reader, []))
            for cells in reader:
                if len(cells) == width:
                    yield reader.line_num, cells
        except csv.Error as error:
            raise SourceError(f"{uri}, line {reader.line_num}: cannot be read as a table ({error})") from error


def _dialect(format: str) -> type[csv.Dialect]:
    return csv.excel if format == "csv" else CellTabs


def json_rows(uri: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yields the number, the text and the object of each line of a file that is a JSON object."""
    for number, line in lines(uri):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield number, line, value


# --- keys ----------------------------------------------------------------------------------------------------------------


def row_keys(manifests: Manifests, names: dict[str, None]) -> Iterator[tuple[int, RowKey]]:
    """Yields the place of each row of the manifests in their order, and its key. Rows that are not valid are left out.

    Args:
        manifests: the manifests. The rows of a Kaldi directory are its segments, or else its recordings.
        names: gets the names of all cells, in the order in which they occur; for Lhotse, those of the fields of `custom`.

    Raises:
        READ_ERRORS: a file cannot be read.
    """
    for index, uri in enumerate(manifests.uris):
        for number, key in _keys_of(uri, manifests.format, names):
            if key is not None:
                yield index * FILE_ROWS + number, key


def _keys_of(uri: str, format: str, names: dict[str, None]) -> Iterator[tuple[int, RowKey | None]]:
    if format == "kaldi":
        for number, ref in enumerate(data_rows(uri, Unresolved())):
            yield number, RowKey.of(ref)
    elif format == "lhotse":
        for number, _, value in json_rows(uri):
            if isinstance(value.get("custom"), dict):
                names.update(dict.fromkeys(value["custom"]))
            yield number, lhotse_key(value)
    elif format == "jsonl":
        for number, _, value in json_rows(uri):
            names.update(dict.fromkeys(value))
            yield number, flat_key(value)
    elif format == "paths":
        for number, path in lines(uri):
            yield number, flat_key({PATH_COLUMNS[0]: path})
    elif format == "parquet":
        names.update(dict.fromkeys(parquet_schema(uri).names))
        for first, batch in parquet_batches(uri, [name for name in names if name in _USED]):
            for number, row in enumerate(batch.to_pylist(), start=first):
                yield number, flat_key(row)
    else:
        header = table_header(uri, format)
        names.update(dict.fromkeys(header))
        used = [(place, name) for place, name in enumerate(header) if name in _USED]
        for number, cells in table_rows(uri, format):
            yield number, flat_key({name: cells[place] for place, name in used})


def flat_key(row: Mapping[str, Any]) -> RowKey | None:
    """Returns the key of a row of a table or of a NeMo manifest; None if the row is not valid."""
    try:
        return RowKey.of(row_ref({name: row[name] for name in _USED if name in row}, Unresolved(), {}))
    except SourceError:
        return None


def lhotse_key(row: dict[str, Any]) -> RowKey | None:
    """Returns the key of a cut or recording of Lhotse; None if it is not valid."""
    try:
        return RowKey.of(entry_ref(row, Unresolved()))
    except SourceError:
        return None
