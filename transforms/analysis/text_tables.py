"""Formats tables and numbers for the terminal."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from transforms.analysis.row_formats import plain_rows

NOTHING = "-"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] | None = None) -> str:
    """Formats cells in columns, with a line under the header.

    Args:
        head: names of the columns.
        rows: cells of each row, one a column.
        right: whether each column is aligned to the right; by default all but the first.
    """
    right = [number > 0 for number in range(len(head))] if right is None else right
    lines = [[_printable(text) for text in row] for row in (head, *rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            " " * (width - _width(cell)) + cell if to_right else cell + " " * (width - _width(cell))
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *text[1:]])


def table_text(table: pa.Table) -> str:
    """Formats all rows of a table, with numbers aligned to the right, and adds the number of rows."""
    right = [
        pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        for field in table.schema
    ]
    rows = [[cell(value) for value in row] for row in plain_rows(table)]
    return f"{aligned(table.schema.names, rows, right)}\n{count_text(len(rows), 'row')}"


def count_text(number: int, noun: str, plural: str | None = None) -> str:
    """Returns a number with its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def cell(value: Any) -> str:
    """Formats a value: numbers with up to four decimals, lists with commas, and a dash for null and empty lists."""
    if value is None or value == []:
        return NOTHING
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return ", ".join(map(cell, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell(inner)}" for name, inner in value.items())
    return str(value)


def _number(value: float) -> str:
    if not math.isfinite(value) or (value and abs(value) < 1e-3):
        return f"{value:.3g}"
    integer, _, decimals = f"{value:.4f}".partition(".")
    return f"{integer}.{decimals.rstrip('0') or '0'}"


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _width(text: str) -> int:
    """Returns the width of a text in a terminal: two columns for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
