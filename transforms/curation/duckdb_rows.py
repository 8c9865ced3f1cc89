"""What DuckDB found, as Arrow batches: read as a stream, and written to one Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 65_536


def batches_of(connection: duckdb.DuckDBPyConnection, query: str, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
    """The rows of a query, so many at a time.

    Args:
        connection: which takes no other query before the last batch.
        query: SQL.
        rows: in a batch at most.
    """
    yield from connection.sql(query).to_arrow_reader(rows)


def write_parquet(connection: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema, path: Path) -> int:
    """Writes the rows of a query to a file, zstd, in the schema given; returns how many there were."""
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches_of(connection, query):
            writer.write_batch(batch.select(schema.names).cast(schema))
            count += len(batch)
    return count
