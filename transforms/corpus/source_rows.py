"""Reads the rows of manifests once more, as they are, to find those of scored utterances and to copy them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives.audio_rows import BROKEN_TABLE, is_read_error
from transforms.corpus.columns import ColumnNames
from transforms.corpus.layout import MANIFEST, Source
from transforms.corpus.layouts import kaldi, lhotse
from transforms.corpus.layouts.registry import find_layout
from transforms.corpus.listing import BadRow, Listing, ListingOptions, ManifestListing
from transforms.corpus.manifests import manifest_table
from transforms.corpus.rows import json_rows, stripped_lines
from transforms.corpus.sources import list_into
from transforms.elements import AudioRef, printable
from transforms.errors import SourceError
from transforms.storage.files import File, has_wildcards, is_directory, is_local, literally, look_at, match

# Rows of a file are numbered from its place on.
FILE_ROWS = 1 << 40
_PARQUET_ROWS = 10_000
# Errors of manifests that are gone or cannot be read; a SourceError is a ValueError.
READ_ERRORS = (OSError, ValueError, pa.ArrowException)
_KINDS = {"json": "jsonl", "txt": "paths"}
# Layouts whose utterances are those of one table each, without columns beside it.
_TABLE_LAYOUTS = ("Common Voice", "audiofolder")


@dataclasses.dataclass(frozen=True)
class Manifests:
    """The manifests that a corpus consists of.

    Attributes:
        source: the corpus.
        options: how it was listed.
        format: their format, a key of `manifest_formats.FORMATS`.
        uris: URIs of the files, in the order in which they are listed; for Kaldi, of `wav.scp` and `segments`.
        arrays: URIs of those that are JSON arrays.
    """

    source: str
    options: ListingOptions
    format: str
    uris: tuple[str, ...]
    arrays: frozenset[str] = frozenset()

    @property
    def names(self) -> ColumnNames:
        """Names of their columns."""
        return ColumnNames(self.options.columns)


@dataclasses.dataclass(frozen=True, slots=True)
class RowKey:
    """Key that tells the utterance of a row from others.

    Attributes:
        utterance_id: id of the utterance.
        uri: URI of the recording.
        version: span and channel that the row names, as the end of a `source_version`.
    """

    utterance_id: str
    uri: str
    version: str


class _KeyListing(Listing):
    """Passes the utterances of manifests on, with the places of their rows, instead of collecting them."""

    def __init__(self, source: str, options: ListingOptions, sink: Callable[[int, AudioRef], None]) -> None:
        super().__init__(source, options)
        self.sink = sink
        self.uris_of_manifests: list[str] = []
        self.arrays: set[str] = set()

    def manifest(self, uri: str, unit: str = "line") -> ManifestListing:
        """Starts a manifest."""
        self.uris_of_manifests.append(uri)
        if unit == "item":
            self.arrays.add(uri)
        return _KeyManifest(self, uri, unit, len(self.uris_of_manifests) - 1)

    def add(self, ref: AudioRef, place: int = 0) -> None:
        """Ignores a file that no manifest lists."""


class _KeyManifest(ManifestListing):
    def __init__(self, listing: _KeyListing, uri: str, unit: str, index: int) -> None:
        super().__init__(listing, uri, unit, index)
        self._sink, self._first = listing.sink, index * FILE_ROWS

    def add(self, ref: AudioRef, number: int) -> None:
        """Passes an utterance on."""
        self.is_empty = False
        self._sink(self._first + number, ref)

    def reject(self, row: BadRow, utterance_id: str = "", file: File | None = None) -> None:  # noqa: ARG002 -- as the base
        """Ignores a row that cannot be used."""
        self.is_empty = False


def read_keys(source: str, options: ListingOptions, sink: Callable[[int, RowKey], None]) -> Manifests | None:
    """Reads the keys of all rows of the manifests of a corpus.

    Args:
        source: the corpus, as `--input` named it.
        options: how it was listed.
        sink: gets the place and the key of each row, in their order.

    Returns:
        The manifests; None if the corpus has none whose rows can be copied, as a directory or a glob of recordings.

    Raises:
        READ_ERRORS: a manifest is gone or cannot be read; or the manifests have different formats.
    """
    is_glob = has_wildcards(source) and not (is_local(source) and look_at(source).is_there)
    place = Source(source.rstrip("/") or "/")
    layout = None if is_glob else find_layout(place)
    if layout is None and (is_directory(source) or not MANIFEST.search(source)):
        return None
    if layout is None and not is_glob and not place.exists:
        raise SourceError(f"{source}: there is no such manifest")
    options = dataclasses.replace(options, carry=frozenset(), word_times=False, is_strict=False)

    def add(number: int, ref: AudioRef) -> None:
        version = ref.source_version
        start = min((at for at in (version.find("@"), version.find("#")) if at >= 0), default=len(version))
        sink(number, RowKey(ref.utterance_id, printable(ref.uri), version[start:]))

    listing = _KeyListing(source, options, add)
    list_into(source, listing)
    uris = tuple(listing.uris_of_manifests)
    if not uris:
        if is_glob:
            raise SourceError(f"{source}: there is no such manifest")
        return None
    formats = {_format(uri) for uri in uris}
    if len(formats) > 1:
        raise SourceError(f"{source}: the manifests have different formats ({', '.join(sorted(map(str, formats)))})")
    (format,) = formats
    return None if format is None else Manifests(source, options, format, uris, frozenset(listing.arrays))


def _format(uri: str) -> str | None:
    source = Source(uri)
    layout = find_layout(source)
    if source.name in (kaldi.WAV_SCP, "segments") or layout is kaldi.LAYOUT:
        return "kaldi"
    if layout is lhotse.LAYOUT:
        return "lhotse"
    if layout is not None and layout.name not in _TABLE_LAYOUTS:
        return None
    return _KINDS.get(source.kind, source.kind) or None


def manifest_versions(source: str) -> dict[str, str]:
    """Returns the size and modification time of each manifest of a corpus; of a folder with tables, of each file in it."""
    try:
        if source.endswith(f"/{kaldi.WAV_SCP}"):
            source = FileSystems.split(source)[0]
        if is_directory(source):
            place = Source(source.rstrip("/") or "/")
            files = list(match(f"{literally(place.uri)}/*")) if find_layout(place) else []
        elif not MANIFEST.search(source):
            files = []
        elif is_local(source) and look_at(source).is_there:
            files = [look_at(source)]
        else:
            files = list(match(source))
        return {file.uri: file.source_version for file in files}
    except (OSError, ValueError):
        return {}


# --- rows ------------------------------------------------------------------------------------------------------------------


def numbered_lines(uri: str) -> Iterator[tuple[int, str]]:
    """Yields the number and the stripped text of each line that is not blank and can be read."""
    for line in stripped_lines(uri):
        if not isinstance(line, BadRow):
            yield line


def table_rows(manifests: Manifests, uri: str) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Returns the names of the columns of a CSV or TSV file, and the numbers and cells of its rows."""
    table = manifest_table(uri, manifests.format, manifests.names)
    return table.header, (row for row in table.cell_rows() if not isinstance(row, BadRow))


def written_names(manifests: Manifests) -> dict[str, str]:
    """Returns the names of the columns of CSV or TSV files as they are written, by their names without blanks around them."""
    tables = [manifest_table(uri, manifests.format, manifests.names) for uri in manifests.uris]
    return {name: written for table in tables for name, written in zip(table.header, table.written_header, strict=True)}


def json_objects(manifests: Manifests, uri: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yields the number, the text and the object of each row of a JSON file. An item of an array has no text."""
    if uri in manifests.arrays:
        for row in json_rows(uri)[0]:
            if not isinstance(row, BadRow):
                yield row[0], "", row[1]
        return
    for number, line in numbered_lines(uri):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield number, line, value


def cell_names(manifests: Manifests) -> tuple[str, ...]:
    """Returns the names of the cells of all rows, in the order in which they occur; for Lhotse, those of `custom`."""
    names: dict[str, None] = {}
    for uri in manifests.uris:
        if manifests.format in ("csv", "tsv"):
            header = table_rows(manifests, uri)[0]
            if len(manifests.uris) == 1:
                return tuple(header)  # several columns may have no name
            names.update(dict.fromkeys(header))
        elif manifests.format == "parquet":
            names.update(dict.fromkeys(parquet_schema(uri).names))
        elif manifests.format == "jsonl":
            for _, _, value in json_objects(manifests, uri):
                names.update(dict.fromkeys(value))
        elif manifests.format == "lhotse":
            for _, _, value in json_objects(manifests, uri):
                if isinstance(value.get("custom"), dict):
                    names.update(dict.fromkeys(value["custom"]))
    return tuple(names)


def parquet_batches(uri: str, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yields batches of rows of a Parquet file, with the number of the first row of each, from 1.

    Damaged parts are left out, as in the listing of the corpus.

    Args:
        uri: URI of the file.
        columns: names of the columns; None for all.
    """
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        table = pq.ParquetFile(file, page_checksum_verification=True)
        first = 1
        for group in range(table.num_row_groups):
            number = first
            first += table.metadata.row_group(group).num_rows
            try:
                for batch in table.iter_batches(_PARQUET_ROWS, row_groups=[group], columns=columns):
                    yield number, batch
                    number += len(batch)
            except BROKEN_TABLE as error:
                if is_read_error(error):
                    raise


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
