"""SQL over an output: one SELECT, its rows as Arrow, and what is wrong with it in one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator

import duckdb
import pyarrow as pa

# PIVOT is several statements to DuckDB; none of them writes a file.
_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}
# What is wrong where a name is.
_NAMES = (duckdb.BinderException, duckdb.CatalogException)


class QueryError(ValueError):
    """A query that cannot be answered."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The rows of a query.

    Attributes:
        schema: of the rows.
        batches: the rows, computed as they are asked for, once.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]

    def table(self) -> pa.Table:
        """All rows that are left."""
        return pa.Table.from_batches(self.batches, self.schema)


def select(connection: duckdb.DuckDBPyConnection, sql: str) -> Answer:
    """Runs a query that reads.

    Args:
        connection: to DuckDB in memory, with views of what can be asked about (`results.Results.connect`).
        sql: one SELECT (or FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, PIVOT ...), in DuckDB's dialect.

    Raises:
        QueryError: it is none, or it cannot be understood; and where the batches are read, that they cannot be computed.
    """
    with _said(connection, sql):
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READING:
            kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
            raise QueryError(f"one query that reads is expected, as SELECT; here is {kinds}")
        # Or else a name that is no view could mean a variable of this very program.
        connection.execute("SET python_enable_replacements = false")
        reader = pa.RecordBatchReader.from_stream(connection.sql(sql))
    return Answer(reader.schema, _checked(connection, sql, reader))


def _checked(connection: duckdb.DuckDBPyConnection, sql: str, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    while True:
        with _said(connection, sql):
            batch = next(reader, None)
        if batch is None:
            return
        yield batch


@contextlib.contextmanager
def _said(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[None]:
    """Makes one sentence of what DuckDB, or Arrow for it, says of a query."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        sentence = str(error).partition("\n")[0].rstrip("!. ")
        if re.search("(?i)column|table with name", sentence) and isinstance(error, _NAMES):
            sentence += f"; {_columns(connection, sql)}"
        raise QueryError(sentence) from error


def _columns(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The columns of the views that a query names; of all where it names none."""
    found: dict[str, list[str]] = {}
    for view, column in connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns ORDER BY table_name, ordinal_position"
    ).fetchall():
        found.setdefault(view, []).append(column)
    named = {view: columns for view, columns in found.items() if re.search(rf"(?i)\b{re.escape(view)}\b", sql)}
    return "; ".join(f"{view} has {', '.join(columns)}" for view, columns in (named or found).items())
