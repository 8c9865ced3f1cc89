"""Parquet files of recordings, as the `datasets` library of Hugging Face writes them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archive_member import Member, size_fault
from transforms.corpus.word_times import word_columns
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.text_files import as_text

_ID_COLUMNS = ("id", "utterance_id")
# Exceptions of pyarrow at a damaged file. Some are OSErrors; `is_read_error` tells them from errors of the disk.
BROKEN_PARQUET = (pa.ArrowException, OSError, ValueError)


def is_read_error(error: Exception) -> bool:
    """Returns whether an error of `BROKEN_PARQUET` means that the file could not be read, not that it is damaged."""
    return isinstance(error, OSError) and (error.errno is not None or isinstance(error, BeamIOError))


def holds_audio(uri: str) -> bool:
    """Returns whether a Parquet file has columns of recordings, not only of their paths. Reads only the footer.

    Raises:
        OSError or pyarrow.ArrowException: the file cannot be opened, or is not Parquet.
    """
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return bool(audio_columns(pq.read_schema(file)))


def audio_columns(schema: pa.Schema) -> list[str]:
    """Returns the columns of recordings: structs with `bytes` and `path` that are not declared as another type."""
    types = _declared_types(schema)
    return [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and {"bytes", "path"} <= {part.name for part in field.type}
        and types.get(field.name, "Audio") == "Audio"
    ]


def _declared_types(schema: pa.Schema) -> dict[str, str]:
    """Returns the types that `datasets` declared for the columns ("Audio", "Image", "Value"), if it wrote the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature["_type"] for name, feature in features.items() if "_type" in feature}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def read_parquet(file: BinaryIO) -> Iterator[Member]:
    """Reads the recordings in a Parquet file, and skips damaged row groups.

    Raises:
        AudioFault: the file cannot be read as Parquet; or row groups are damaged, once the other rows are yielded.
        OSError: the file cannot be read.
    """
    try:
        # With a buffer, because a row group may hold gigabytes.
        table = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
        rows = _RowReader(table)
    except BROKEN_PARQUET as error:
        if is_read_error(error):
            raise
        raise AudioFault(Stage.READ, Reason.CORRUPT, f"the file cannot be read as Parquet: {error}") from error
    total_rows, lost_rows, message = 0, 0, ""
    for group in range(table.num_row_groups):
        group_rows, rows_read = table.metadata.row_group(group).num_rows, 0
        try:
            for batch in table.iter_batches(1, row_groups=[group], columns=rows.columns):
                (row,) = batch.to_pylist()
                yield from rows.members(total_rows + rows_read, row)
                rows_read += 1
        except BROKEN_PARQUET as error:
            if is_read_error(error):
                raise
            message = message or str(error)
        lost_rows += group_rows - rows_read
        total_rows += group_rows
    if lost_rows:
        message = message or "they are missing"
        detail = f"the archive is damaged: {lost_rows} of its {total_rows} rows cannot be read ({message})"
        raise AudioFault(Stage.READ, Reason.CORRUPT, detail)


class _RowReader:
    """Turns rows of a Parquet file into recordings.

    Attributes:
        columns: names of the columns to read.
    """

    def __init__(self, table: pq.ParquetFile) -> None:
        schema = table.schema_arrow
        self._audio = audio_columns(schema)
        self._id = _id_column(table, schema)
        self._paths = {column for column in self._audio if self._id is None and _has_unique_paths(table, column)}
        self._digits = len(str(table.metadata.num_rows))
        words = word_columns(schema.names)
        self._metadata = [
            field.name
            for field in schema
            if field.name != self._id
            and (_is_plain(field.type) or (field.name in words and pa.types.is_nested(field.type)))
        ]
        self.columns = [*self._audio, *self._metadata, *([self._id] if self._id else [])]

    def members(self, number: int, row: Mapping[str, Any]) -> Iterator[Member]:
        """Yields the recordings of a row, one per column of recordings.

        Args:
            number: number of the row in the file, from 0.
            row: values by column.
        """
        metadata = {name: as_text(row[name]) for name in self._metadata}
        for column in self._audio:
            audio = row[column] or {}
            name = as_text(row[self._id] if self._id else audio.get("path") if column in self._paths else None)
            name = name or f"{number:0{self._digits}d}"
            if len(self._audio) > 1:
                name = f"{name}/{column}"
            data = audio.get("bytes")
            yield Member(name, len(data or b""), metadata, _content(data, audio.get("path")))


def _content(data: bytes | None, path: str | None) -> BinaryIO | AudioFault:
    if data is None:
        value = f"only the path {as_text(path)}; list the file in a manifest" if path else "no bytes and no path"
        return AudioFault(Stage.READ, Reason.EMPTY_FILE, f"the row holds no recording, but {value}")
    return size_fault(len(data)) or io.BytesIO(data)


def _id_column(table: pq.ParquetFile, schema: pa.Schema) -> str | None:
    """Returns the first id column of integers or texts in which no value is missing or occurs twice."""
    for name in _ID_COLUMNS:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            continue
        values: Sequence[Any] = table.read(columns=[name]).column(0).to_pylist()
        texts = set(map(as_text, values))
        if len(texts) == len(values) and "" not in texts:
            return name
    return None


def _has_unique_paths(table: pq.ParquetFile, column: str) -> bool:
    """Returns whether the paths of recordings are unique. Many data sets have the same path in all rows."""
    rows = table.read(columns=[f"{column}.path"]).column(0).to_pylist()
    paths = [row["path"] for row in rows if row and row["path"]]
    return len(set(paths)) == len(paths)


def _is_plain(kind: pa.DataType) -> bool:
    return not (
        pa.types.is_nested(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
