"""Rows of a query as CSV, JSON and Parquet."""

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

from transforms.analysis.queries import Answer, QueryError

_CRLF = "\r\n"
# Types whose values are plain as they are.
_PLAIN = (pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_boolean)


def write_csv(answer: Answer, out: TextIO) -> None:
    """Writes rows with a head; lists and structs as JSON, nothing for null."""
    writer = csv.writer(_Lines(out), lineterminator=_CRLF)
    writer.writerow(answer.schema.names)
    for batch in answer.batches:
        for row in plain_rows(batch):
            writer.writerow(
                [_json(_finite(value)) if isinstance(value, (list, dict, bool)) else value for value in row]
            )


class _Lines:
    """Ends lines as files here do. The writer ends them with CR LF, or it would not quote a CR within a text."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, line: str) -> None:
        self._out.write(line.removesuffix(_CRLF) + "\n")


def write_json(answer: Answer, out: TextIO) -> None:
    """Writes one array with an object for each row, a row a line; a number that is not finite becomes null.

    Raises:
        QueryError: two columns have one name.
    """
    _check_names(answer)
    names, before = answer.schema.names, "[\n"
    for batch in answer.batches:
        for row in plain_rows(batch):
            out.write(before + _json(dict(zip(names, map(_finite, row), strict=True))))
            before = ",\n"
    out.write("[]\n" if before == "[\n" else "\n]\n")


def write_parquet(answer: Answer, out: BinaryIO) -> None:
    """Writes a zstd file.

    Raises:
        QueryError: Parquet has no such type, or two columns have one name, which few readers take.
    """
    _check_names(answer)
    try:
        with pq.ParquetWriter(out, answer.schema, compression="zstd") as writer:
            for batch in answer.batches:
                writer.write_batch(batch)
    except pa.ArrowNotImplementedError as error:
        raise QueryError(f"{error}: Parquet cannot hold it, cast it to another type") from error


def plain_rows(rows: pa.Table | pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """Rows as numbers, text, truth values, None, and lists and dictionaries of those.

    A float of 32 bits becomes the shortest number that means it: 4.2, and not 4.199999809265137.
    """
    columns = []
    for column in rows.columns:
        values = _shortest(column).to_pylist()
        columns.append(values if any(is_so(column.type) for is_so in _PLAIN) else [plain(value) for value in values])
    yield from zip(*columns, strict=True)


def plain(value: Any) -> Any:
    """A value that JSON can hold: text for times, base64 for bytes."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case list():
            return [plain(inner) for inner in value]
        case tuple() if type(value) is tuple:  # a MAP is a list of pairs; a span of time is a tuple of another kind
            return [plain(inner) for inner in value]
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case bytes():
            return base64.b64encode(value).decode()
    return str(value)


def _check_names(answer: Answer) -> None:
    names = answer.schema.names
    for name in names:
        if names.count(name) > 1:
            raise QueryError(f"two columns are named {name}; give one of them another name with AS")


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
