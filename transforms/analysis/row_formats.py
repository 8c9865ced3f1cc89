"""Writes the rows of a query as CSV, JSON and Parquet."""

from __future__ import annotations

import base64
import csv
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.analysis.queries import QueryError, QueryResult

_CRLF = "\r\n"
# Types whose values need no conversion.
_PLAIN = (pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_boolean)


def write_csv(result: QueryResult, out: TextIO) -> None:
    """Writes rows with a header. Lists and structs are written as JSON, and null as an empty cell."""
    writer = csv.writer(_Lines(out), lineterminator=_CRLF)
    writer.writerow(result.schema.names)
    for batch in result.batches:
        for row in plain_rows(batch):
            writer.writerow(
                [_json(_finite(value)) if isinstance(value, (list, dict, bool)) else value for value in row]
            )


class _Lines:
    """Replaces CR LF at the end of a line by LF. `csv.writer` must write CR LF, or it would not quote a CR in a text."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, line: str) -> None:
        self._out.write(line.removesuffix(_CRLF) + "\n")


def write_json(result: QueryResult, out: TextIO) -> None:
    """Writes an array with one object a line. Numbers that are not finite become null.

    Raises:
        QueryError: two columns have the same name.
    """
    _check_names(result)
    names, separator = result.schema.names, "[\n"
    for batch in result.batches:
        for row in plain_rows(batch):
            out.write(separator + _json(dict(zip(names, map(_finite, row), strict=True))))
            separator = ",\n"
    out.write("[]\n" if separator == "[\n" else "\n]\n")


def write_parquet(result: QueryResult, out: BinaryIO) -> None:
    """Writes a Parquet file with zstd compression.

    Raises:
        QueryError: Parquet lacks a type, or two columns have the same name, which few readers accept.
    """
    _check_names(result)
    try:
        with pq.ParquetWriter(out, result.schema, compression="zstd") as writer:
            for batch in result.batches:
                writer.write_batch(batch)
    except pa.ArrowNotImplementedError as error:
        raise QueryError(f"{error}: Parquet has no such type; cast the column to another type") from error


def plain_rows(rows: pa.Table | pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """Yields rows of numbers, texts, booleans, None, and lists and dictionaries of those.

    A float32 becomes the shortest number that identifies it: 4.2 instead of 4.199999809265137.
    """
    columns = []
    for column in rows.columns:
        values = _shortest(column).to_pylist()
        columns.append(
            values if any(is_type(column.type) for is_type in _PLAIN) else [plain(value) for value in values]
        )
    yield from zip(*columns, strict=True)


def plain(value: Any) -> Any:
    """Converts a value for JSON: times to text, and bytes to base64."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case list():
            return [plain(inner) for inner in value]
        case tuple() if type(value) is tuple:  # a pair of a MAP; a time span is a subclass of tuple
            return [plain(inner) for inner in value]
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case bytes():
            return base64.b64encode(value).decode()
    return str(value)


def _check_names(result: QueryResult) -> None:
    names = result.schema.names
    for name in names:
        if names.count(name) > 1:
            raise QueryError(f"two columns are named {name}; rename one with AS")


def _shortest(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    for narrow, text, wide in (
        (pa.float32(), pa.string(), pa.float64()),
        (pa.list_(pa.float32()), pa.list_(pa.string()), pa.list_(pa.float64())),
    ):
        if column.type == narrow:
            return column.cast(text).cast(wide)
    return column


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
