"""Sinks for Parquet. Rows are first coalesced into tables, and sorted on request, since each table becomes a row group."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from transforms.schemas import WITHOUT_DICTIONARY

# Rows of a row group.
ROW_GROUP_ROWS = 65_536
# Rows of a row group of a sorted table. The number is small, because a query with a threshold reads one group only in part.
SORTED_GROUP_ROWS = 4_096
# Approximate size of a file in bytes: small enough to read at once, and large enough for few files per corpus.
FILE_BYTES = 256 << 20


def parquet_writer(file: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """Returns a writer of a table: compressed with zstd, with dictionaries only for columns whose values repeat.

    Args:
        file: file to write to.
        schema: schema of the table.
    """
    repeated = [name for name in schema.names if name not in WITHOUT_DICTIONARY]
    is_frames = set(WITHOUT_DICTIONARY).issubset(schema.names)
    # Lists in the standard layout of Parquet, which some readers require.
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_compliant_nested_type=True,
        use_dictionary=repeated if is_frames else True,
        column_encoding={"frame": "DELTA_BINARY_PACKED"} if is_frames and _has_frame_numbers(schema) else None,
    )


def _has_frame_numbers(schema: pa.Schema) -> bool:
    """Returns whether a table has the numbers of frames, which are all different in a long recording, but 1 apart.

    A corpus may have a column of that name with other values.
    """
    return "frame" in schema.names and schema.field("frame").type == pa.int32()


def sorted_groups(table: pa.Table, keys: tuple[str, ...], rows: int = SORTED_GROUP_ROWS) -> Iterator[pa.Table]:
    """Sorts a table in ascending order and cuts it into row groups.

    Each row group is a copy: a slice would be encoded with the buffers of the whole table.

    Args:
        table: table with all rows.
        keys: columns to sort by.
        rows: rows of each row group but the last.
    """
    order = pc.sort_indices(table, sort_keys=[(key, "ascending") for key in keys])
    for start in range(0, len(order), rows):
        yield table.take(order.slice(start, rows))


class Coalesce(beam.DoFn):
    """Elements -> tables of the size of a row group. The last table of a bundle may be smaller.

    Args:
        to_table: function that makes one table of many elements.
        count_rows: function that returns the number of rows of an element.
        rows: rows of a row group; with `sort_by`, rows that are sorted together.
        sort_by: columns to sort by; the sorted rows are cut into smaller row groups (`sorted_groups`).
    """

    def __init__(
        self,
        to_table: Callable[[list[Any]], pa.Table],
        count_rows: Callable[[Any], int],
        rows: int = ROW_GROUP_ROWS,
        sort_by: tuple[str, ...] = (),
    ) -> None:
        self._to_table = to_table
        self._count_rows = count_rows
        self._rows = rows
        self._sort_by = sort_by

    def start_bundle(self) -> None:
        """Resets the state, also after a failed bundle."""
        self._elements: list[Any] = []
        self._num_rows = 0

    def process(self, element: Any) -> Iterable[pa.Table]:
        """Takes an element, and outputs a table, or several sorted ones, when there are enough rows."""
        self._elements.append(element)
        self._num_rows += self._count_rows(element)
        if self._num_rows >= self._rows:
            yield from self._flush()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        """Outputs the remaining rows."""
        if self._num_rows:
            for table in self._flush():
                yield GlobalWindows.windowed_value_at_end_of_window(table)

    def _flush(self) -> Iterable[pa.Table]:
        elements = self._elements
        self.start_bundle()
        table = self._to_table(elements)
        return sorted_groups(table, self._sort_by) if self._sort_by else [table]


class FileSeries:
    """Writes tables to a series of zstd Parquet files; each table becomes a row group.

    Args:
        prefix: prefix of the files' paths.
        schema: schema of the tables.
        file_bytes: size in bytes at which a file is closed.
    """

    def __init__(self, prefix: str, schema: pa.Schema, file_bytes: int = FILE_BYTES) -> None:
        self._prefix = prefix
        self._schema = schema
        self._file_bytes = file_bytes
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> str | None:
        """Writes a table; returns the path of the file if this completes it, else None."""
        if self._writer is None:
            self._path = f"{self._prefix}-{secrets.token_hex(6)}.parquet"
            self._file = FileSystems.create(self._path, compression_type=CompressionTypes.UNCOMPRESSED)
            self._writer = parquet_writer(self._file, self._schema)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        return self.close() if self._file.tell() >= self._file_bytes else None

    def close(self) -> str | None:
        """Closes the open file and returns its path; None if no file is open."""
        if self._writer is None:
            return None
        self._writer.close()
        self._file.close()
        self._writer = None
        return self._path


class WriteFiles(beam.DoFn):
    """Tables -> paths of zstd Parquet files, each when the file is complete.

    A runner may repeat a bundle, or run it twice at the same time. Each attempt writes its own files. Only the successful
    attempt outputs its paths; the files of the others are debris (`ledger.Ledger.remove_debris`).

    Args:
        prefix: prefix of the files' paths.
        schema: schema of the tables.
        file_bytes: size in bytes at which a file is closed.
    """

    def __init__(self, prefix: str, schema: pa.Schema, file_bytes: int = FILE_BYTES) -> None:
        self._prefix = prefix
        self._schema = schema
        self._file_bytes = file_bytes

    def start_bundle(self) -> None:
        """Resets the state, also after a failed bundle."""
        self._files = FileSeries(self._prefix, self._schema, self._file_bytes)

    def process(self, table: pa.Table) -> Iterable[str]:
        """Writes a table as one row group, and outputs the path of the file if it is large enough."""
        if path := self._files.write(table):
            yield path

    def finish_bundle(self) -> Iterable[WindowedValue]:
        """Closes the last file and outputs its path."""
        if path := self._files.close():
            yield GlobalWindows.windowed_value_at_end_of_window(path)


class WriteTable(beam.PTransform):
    """Elements -> paths of zstd Parquet files `PREFIX-<random>.parquet`, without a shuffle.

    Each bundle writes one or more files; without elements there is no file.

    Args:
        prefix: prefix of the files' paths.
        schema: schema of the table.
        to_table: function that makes one table of many elements; by default the elements are rows (dictionaries).
        count_rows: function that returns the number of rows of an element; by default 1.
        rows: rows of a row group; with `sort_by`, rows that are sorted together.
        sort_by: columns to sort by; the row groups are so small that a query for a range of the first column reads few rows.
    """

    def __init__(
        self,
        prefix: str,
        schema: pa.Schema,
        to_table: Callable[[list[Any]], pa.Table] | None = None,
        count_rows: Callable[[Any], int] = lambda _: 1,
        rows: int = ROW_GROUP_ROWS,
        sort_by: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self._write = WriteFiles(prefix, schema)
        self._coalesce = Coalesce(
            to_table or functools.partial(_rows_to_table, schema=schema), count_rows, rows, sort_by
        )

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        """Writes on the workers that hold the elements."""
        return (
            elements
            | "Coalesce" >> beam.ParDo(self._coalesce)
            | "WriteFiles" >> beam.ParDo(self._write).with_output_types(str)
        )


def _rows_to_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema)  # the method itself cannot be pickled
