"""Runs SQL over an output: one query, its rows as Arrow, and its errors in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator

import duckdb
import pyarrow as pa

from transforms.output.results import STORED

# DuckDB splits PIVOT into several statements (MULTI), which write no file.
_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}
# Errors that unknown names cause.
_NAMES = (duckdb.BinderException, duckdb.CatalogException)


class QueryError(ValueError):
    """A query is not valid, or cannot be computed."""


@dataclasses.dataclass(frozen=True)
class QueryResult:
    """The rows of a query.

    Attributes:
        schema: schema of the rows.
        batches: rows, which are computed while they are read; they can be read once.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]

    def table(self) -> pa.Table:
        """Returns the rows that are not read yet."""
        return pa.Table.from_batches(self.batches, self.schema)

    def first(self, most: int) -> tuple[pa.Table, int]:
        """Returns the first rows that are not read yet, and the number of the rows after them, which are not kept.

        Args:
            most: largest number of rows to return.
        """
        kept: list[pa.RecordBatch] = []
        num_kept = num_more = 0
        for batch in self.batches:
            part = batch.slice(0, most - num_kept)
            kept.append(part)
            num_kept += len(part)
            num_more += len(batch) - len(part)
        return pa.Table.from_batches([part for part in kept if len(part)], self.schema), num_more


def select(connection: duckdb.DuckDBPyConnection, sql: str) -> QueryResult:
    """Runs a query that only reads.

    Args:
        connection: in-memory DuckDB connection with views of the tables (`results.Results.connect`).
        sql: one SELECT (or FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, PIVOT ...) in the dialect of DuckDB.

    Raises:
        QueryError: the query is invalid or writes. Reading the batches raises it too, if they cannot be computed.
    """
    with _query_errors(connection, sql):
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READING:
            kinds = ", ".join(statement.type.name for statement in statements) or "empty"
            raise QueryError(f"the query is {kinds}; must be one statement that reads, such as SELECT")
        # Otherwise, DuckDB would look up unknown names among the variables of this program.
        connection.execute("SET python_enable_replacements = false")
        reader = pa.RecordBatchReader.from_stream(connection.sql(sql))
    return QueryResult(reader.schema, _checked_batches(connection, sql, reader))


def _checked_batches(
    connection: duckdb.DuckDBPyConnection, sql: str, reader: pa.RecordBatchReader
) -> Iterator[pa.RecordBatch]:
    while True:
        with _query_errors(connection, sql):
            batch = next(reader, None)
        if batch is None:
            return
        yield batch


@contextlib.contextmanager
def _query_errors(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[None]:
    """Raises errors of DuckDB and Arrow as a `QueryError` of one line. It lists the columns if a name is unknown."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        message = str(error).partition("\n")[0].rstrip("!. ")
        if re.search("(?i)column|table with name", message) and isinstance(error, _NAMES):
            message += f"; {_columns(connection, sql)}"
        raise QueryError(message) from error


def _columns(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Lists the columns of the views that a query names, or of all views if it names none."""
    views: dict[str, list[str]] = {}
    for view, column in connection.execute(
        f"SELECT table_name, column_name FROM information_schema.columns WHERE table_name <> '{STORED}' "
        "ORDER BY table_name, ordinal_position"
    ).fetchall():
        views.setdefault(view, []).append(column)
    named = {view: columns for view, columns in views.items() if re.search(rf"(?i)\b{re.escape(view)}\b", sql)}
    return "; ".join(f"{view} has {', '.join(columns)}" for view, columns in (named or views).items())
