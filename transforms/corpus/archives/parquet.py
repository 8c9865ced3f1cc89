"""Parquet files of recordings, as the `datasets` library of Hugging Face writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives.audio_rows import BROKEN_TABLE, AudioRows, audio_columns, is_read_error
from transforms.corpus.archives.member import Member
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.files import Finder


def parquet_schema(uri: str) -> pa.Schema:
    """Returns the schema of a Parquet file. Reads only the footer.

    Raises:
        OSError or pyarrow.ArrowException: the file cannot be opened, or is not Parquet.
    """
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return pq.read_schema(file)


def lacks_bytes(uri: str) -> tuple[bool, bool]:
    """Returns whether some rows of a Parquet file with audio, and whether all of them, hold no recording, only its path.

    Reads the footer, and the bytes up to the first recording if the footer has no statistics.

    Raises:
        OSError or pyarrow.ArrowException: the file cannot be read.
    """
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        table = pq.ParquetFile(file)
        some, only = False, table.metadata.num_rows > 0
        for nulls, group, column in _null_bytes(table):
            if nulls is None:
                batches = table.iter_batches(1, row_groups=[group], columns=[column]) if only else ()
                rows = (row for batch in batches for row in batch.column(0).to_pylist())
                some, only = True, only and all(not row or row["bytes"] is None for row in rows)
            else:
                some = some or nulls > 0
                only = only and nulls == table.metadata.row_group(group).num_rows
        return some, only


def _null_bytes(table: pq.ParquetFile) -> Iterator[tuple[int | None, int, str]]:
    """Yields, for the bytes of each audio column and row group, the missing ones (None if unknown), the group and the path."""
    names = {f"{name}.bytes" for name in audio_columns(table.schema_arrow)}
    for group in range(table.num_row_groups):
        row_group = table.metadata.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            if column.path_in_schema in names:
                statistics = column.statistics
                is_known = statistics is not None and statistics.has_null_count
                yield statistics.null_count if is_known else None, group, column.path_in_schema


def read_parquet(file: BinaryIO, finder: Finder) -> Iterator[Member]:
    """Reads the recordings in a Parquet file, and skips damaged row groups.

    Args:
        file: the Parquet file.
        finder: finder of recordings of which the file holds only the paths.

    Raises:
        AudioFault: the file cannot be read as Parquet; or row groups are damaged, once the other rows are yielded.
        OSError: the file cannot be read.
    """
    try:
        # With a buffer, because a row group may hold gigabytes.
        table = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
        rows = AudioRows(table.schema_arrow, table.metadata.num_rows, lambda name: _values(table, name), finder)
    except BROKEN_TABLE as error:
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
        except BROKEN_TABLE as error:
            if is_read_error(error):
                raise
            message = message or str(error)
        lost_rows += group_rows - rows_read
        total_rows += group_rows
    if lost_rows:
        message = message or "they are missing"
        detail = f"the archive is damaged: {lost_rows} of its {total_rows} rows cannot be read ({message})"
        raise AudioFault(Stage.READ, Reason.CORRUPT, detail)


def parquet_rows(file: BinaryIO) -> Iterator[tuple[pa.RecordBatch, dict[str, str]]]:
    """Reads the rows of a Parquet file with recordings, one at a time.

    Args:
        file: the Parquet file.

    Yields:
        A batch of one row with all columns, and the names of its recordings by column.

    Raises:
        BROKEN_TABLE: the file is damaged or cannot be read.
    """
    table = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    rows = AudioRows(table.schema_arrow, table.metadata.num_rows, lambda name: _values(table, name), Finder(""))
    for number, batch in enumerate(table.iter_batches(1)):
        (row,) = batch.select(rows.columns).to_pylist()
        yield batch, rows.names(number, row)


def _values(table: pq.ParquetFile, name: str) -> list[Any]:
    """Returns the values of a column, or of a field of it, such as `audio.path`."""
    column = table.read(columns=[name]).column(0).to_pylist()
    _, dot, field = name.rpartition(".")
    is_field = dot and name not in table.schema_arrow.names
    return [row and row[field] for row in column] if is_field else column
