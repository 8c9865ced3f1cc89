"""Rows become Parquet: coalesced into tables first, since every table becomes a row group."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

ROW_GROUP_ROWS = 65_536


class Coalesce(beam.DoFn):
    """Gathers elements until their rows make a row group, and at the end of the bundle.

    Args:
        to_table: makes one table of many elements.
        count_rows: rows that an element will give.
        rows: rows that make a row group.
    """

    def __init__(
        self, to_table: Callable[[list[Any]], pa.Table], count_rows: Callable[[Any], int], rows: int = ROW_GROUP_ROWS
    ) -> None:
        self._to_table = to_table
        self._count_rows = count_rows
        self._rows = rows

    def start_bundle(self) -> None:
        """Begins with nothing, also after a bundle that failed."""
        self._held: list[Any] = []
        self._held_rows = 0

    def process(self, element: Any) -> Iterable[pa.Table]:
        """Takes an element; gives a table when there is enough for one."""
        self._held.append(element)
        self._held_rows += self._count_rows(element)
        if self._held_rows >= self._rows:
            yield self._take()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        """Gives what is left."""
        if self._held_rows:
            window = GlobalWindow()
            yield WindowedValue(self._take(), window.max_timestamp(), [window])

    def _take(self) -> pa.Table:
        held = self._held
        self.start_bundle()
        return self._to_table(held)


class WriteTable(beam.PTransform):
    """Elements -> zstd Parquet files `PREFIX-SSSSS-of-NNNNN.parquet`, one for each bundle, without a shuffle.

    Args:
        prefix: of the files' paths.
        schema: of the table.
        to_table: makes one table of many elements; where left out, the elements are rows (dictionaries).
        count_rows: rows that an element gives; one for each where left out.
        rows: rows that make a row group.
    """

    def __init__(
        self,
        prefix: str,
        schema: pa.Schema,
        to_table: Callable[[list[Any]], pa.Table] | None = None,
        count_rows: Callable[[Any], int] = lambda _: 1,
        rows: int = ROW_GROUP_ROWS,
    ) -> None:
        super().__init__()
        self._prefix = prefix
        self._schema = schema
        self._coalesce = Coalesce(to_table or functools.partial(_rows_to_table, schema=schema), count_rows, rows)

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        """Returns the paths of the files."""
        return (
            elements
            | "Coalesce" >> beam.ParDo(self._coalesce)
            | "WriteParquet"
            >> beam.io.WriteToParquetBatched(
                self._prefix, self._schema, codec="zstd", file_name_suffix=".parquet", num_shards=0
            )
        )


def _rows_to_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema)  # the method itself cannot be pickled
