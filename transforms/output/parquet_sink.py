"""Rows become Parquet: coalesced into tables first, and sorted where asked, since every table becomes a row group."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

ROW_GROUP_ROWS = 65_536
# Of a sorted table: as few rows as a query with a threshold may have to read in vain.
SORTED_GROUP_ROWS = 4_096
# Of a file, roughly: what a reader takes at a time with ease, and few files however large the corpus is.
FILE_BYTES = 256 << 20


def sorted_groups(table: pa.Table, keys: tuple[str, ...], rows: int = SORTED_GROUP_ROWS) -> Iterator[pa.Table]:
    """Sorts a table, the smallest values first, and cuts it into row groups.

    Each is a table by itself: a slice would take the memory of the whole wherever it is encoded.

    Args:
        table: with all rows.
        keys: columns to sort by.
        rows: of each row group but the last.
    """
    order = pc.sort_indices(table, sort_keys=[(key, "ascending") for key in keys])
    for start in range(0, len(order), rows):
        yield table.take(order.slice(start, rows))


class Coalesce(beam.DoFn):
    """Gathers elements until their rows make a row group, and at the end of the bundle.

    Args:
        to_table: makes one table of many elements.
        count_rows: rows that an element will give.
        rows: rows that make a row group; where they are sorted, that are sorted together.
        sort_by: columns by which the rows are sorted, and then cut into smaller groups (`sorted_groups`).
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
        """Begins with nothing, also after a bundle that failed."""
        self._held: list[Any] = []
        self._held_rows = 0

    def process(self, element: Any) -> Iterable[pa.Table]:
        """Takes an element; gives a table, or several sorted ones, when there is enough."""
        self._held.append(element)
        self._held_rows += self._count_rows(element)
        if self._held_rows >= self._rows:
            yield from self._take()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        """Gives what is left."""
        if self._held_rows:
            for table in self._take():
                yield GlobalWindows.windowed_value_at_end_of_window(table)

    def _take(self) -> Iterable[pa.Table]:
        held = self._held
        self.start_bundle()
        table = self._to_table(held)
        return sorted_groups(table, self._sort_by) if self._sort_by else [table]


class FileSeries:
    """Tables -> zstd Parquet files, one after the other, each table a row group.

    Args:
        prefix: of the files' paths.
        schema: of the tables.
        file_bytes: from which size on a further file is begun.
    """

    def __init__(self, prefix: str, schema: pa.Schema, file_bytes: int = FILE_BYTES) -> None:
        self._prefix = prefix
        self._schema = schema
        self._file_bytes = file_bytes
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> str | None:
        """Writes a table; returns the path of the file where it is whole now."""
        if self._writer is None:
            self._path = f"{self._prefix}-{secrets.token_hex(6)}.parquet"
            self._file = FileSystems.create(self._path, compression_type=CompressionTypes.UNCOMPRESSED)
            # Lists as the format's standard lays them out, which not every reader does without.
            self._writer = pq.ParquetWriter(
                self._file, self._schema, compression="zstd", use_compliant_nested_type=True
            )
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        return self.close() if self._file.tell() >= self._file_bytes else None

    def close(self) -> str | None:
        """Ends the file that was begun, if one was; returns its path."""
        if self._writer is None:
            return None
        self._writer.close()
        self._file.close()
        self._writer = None
        return self._path


class WriteFiles(beam.DoFn):
    """Tables -> zstd Parquet files of a bundle; the path of each goes on when the file is whole.

    A runner may do a bundle again, or twice at the same time: each attempt writes files of its own, and only the paths that
    an attempt which counts has given are known downstream. What others wrote is debris (`ledger.Ledger.remove_debris`).

    Args:
        prefix: of the files' paths.
        schema: of the tables.
        file_bytes: from which size on a further file is begun.
    """

    def __init__(self, prefix: str, schema: pa.Schema, file_bytes: int = FILE_BYTES) -> None:
        self._prefix = prefix
        self._schema = schema
        self._file_bytes = file_bytes

    def start_bundle(self) -> None:
        """Begins with nothing, also after a bundle that failed."""
        self._files = FileSeries(self._prefix, self._schema, self._file_bytes)

    def process(self, table: pa.Table) -> Iterable[str]:
        """Writes a table as one row group; gives a path when its file is large enough."""
        if path := self._files.write(table):
            yield path

    def finish_bundle(self) -> Iterable[WindowedValue]:
        """Closes the last file and gives its path."""
        if path := self._files.close():
            yield GlobalWindows.windowed_value_at_end_of_window(path)


class WriteTable(beam.PTransform):
    """Elements -> zstd Parquet files `PREFIX-<random>.parquet`, one or more for each bundle, without a shuffle.

    Nothing is written where there are no elements.

    Args:
        prefix: of the files' paths.
        schema: of the table.
        to_table: makes one table of many elements; where left out, the elements are rows (dictionaries).
        count_rows: rows that an element gives; one for each where left out.
        rows: rows that make a row group; where they are sorted, that are sorted together.
        sort_by: columns by which the rows of a file are sorted, in row groups so small that a query for a range of the
            first reads few of them.
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
        """Returns the paths of the files."""
        return (
            elements
            | "Coalesce" >> beam.ParDo(self._coalesce)
            | "WriteFiles" >> beam.ParDo(self._write).with_output_types(str)
        )


def _rows_to_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema)  # the method itself cannot be pickled
