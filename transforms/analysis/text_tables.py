"""Tables for the terminal."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from transforms.analysis.row_formats import plain_rows

NOTHING = "-"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] | None = None) -> str:
    """Cells as text in columns, a line under the head.

    Args:
        head: names of the columns.
        rows: cells, as many in each row as the head has.
        right: which columns are aligned to the right; all but the first where left out.
    """
    right = [place > 0 for place in range(len(head))] if right is None else right
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
    """All rows of a table, numbers to the right, and how many there are."""
    right = [
        pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        for field in table.schema
    ]
    rows = [[cell(value) for value in row] for row in plain_rows(table)]
    return f"{aligned(table.schema.names, rows, right)}\n{counted(len(rows), 'row')}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """How many there are: "1 row", "2,000 rows"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def hours(value: float) -> str:
    """A length for people: in hours, or in minutes or seconds where it is short."""
    if value * 3600 < 60:
        return f"{value * 3600:.1f} s"
    return f"{value * 60:.1f} min" if value < 1 else f"{value:,.1f} h"


def cell(value: Any) -> str:
    """A value for people: numbers to four digits behind the point, lists with commas, a dash for nothing."""
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
    whole, _, behind = f"{value:.4f}".partition(".")
    return f"{whole}.{behind.rstrip('0') or '0'}"


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _width(text: str) -> int:
    """Columns that a text takes in a terminal: two for each wide character, none for what is set on the one before."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
