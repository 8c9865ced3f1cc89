"""Streams results of DuckDB queries as Arrow batches, or into a Parquet file; spills rows for queries to disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from transforms import schemas

BATCH_ROWS = 65_536
# Rows of Python values that are in memory at the same time.
_SPILL_ROWS = 10_000
# SQL for `utterances` without carried columns, whose names are those of users and may be any that a query uses itself.
OWN_UTTERANCES = f"(SELECT COLUMNS(lambda name: name IN {tuple(schemas.UTTERANCES.names)}) FROM utterances)"


def quoted(name: str) -> str:
    """Quotes a column name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """Quotes a text for SQL."""
    return "'" + text.replace("'", "''") + "'"


def batches_of(connection: duckdb.DuckDBPyConnection, query: str, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """Streams the rows of a query.

    Args:
        connection: DuckDB. Run no other query on it before the last batch.
        query: one SELECT statement.
        rows: largest number of rows in a batch.
    """
    yield from connection.sql(query).to_arrow_reader(rows)


def write_parquet(connection: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema, path: Path) -> int:
    """Writes the rows of a query to a Parquet file, compressed with zstd.

    Args:
        connection: DuckDB.
        query: one SELECT statement with at least the columns of `schema`.
        schema: schema of the file; other columns of the query are left out.
        path: path of the file.

    Returns:
        Number of rows.
    """
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches_of(connection, query):
            writer.write_batch(batch.select(schema.names).cast(schema))
            count += len(batch)
    return count


def spill(rows: Iterable[dict[str, Any]], schema: pa.Schema, path: Path) -> ds.Dataset:
    """Writes rows to a Parquet file, so that they need no memory.

    Args:
        rows: rows with at least the columns of `schema`; a column that is left out is null.
        schema: schema of the file.
        path: path of the file.

    Returns:
        The file as a dataset that DuckDB can read.
    """
    remaining = iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(remaining, _SPILL_ROWS)):
            writer.write_table(pa.Table.from_pylist(batch, schema))
    return ds.dataset(path, schema)
