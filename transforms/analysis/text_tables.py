"""Formats tables and numbers for the terminal."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from transforms.analysis.row_formats import plain_rows

NOTHING = "-"
GAP = "  "
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
# Characters of a column of text that is made narrower.
LEAST_WIDTH = 8
# Columns of `score_table`: those that may be missing, and those that are not aligned as numbers.
_SCORE_HEAD = ("recording", "score", "worst frame", "length", "SNR", "C50", "causes", "remarks")
_OPTIONAL = ("SNR", "C50", "causes")
_TEXTS = ("recording", "causes", "remarks")


def aligned(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[bool] | None = None,
    width: int | None = None,
    *,
    wraps: bool = False,
) -> str:
    """Formats cells in columns, with a line under the header.

    Args:
        head: names of the columns.
        rows: cells of each row, one a column.
        right: whether each column is aligned to the right, as numbers are; by default all but the first.
        width: width of the terminal in characters, to which the other columns are narrowed; None for any width.
        wraps: whether a text that is too long continues on the next line; by default its middle is left out.
    """
    right = [number > 0 for number in range(len(head))] if right is None else right
    lines = [[_printable(text) for text in row] for row in (head, *rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    if width is not None:
        widths = _narrowed(widths, _least_widths(lines, right), width - len(GAP) * (len(widths) - 1))
    texts = [
        [
            GAP.join(
                " " * (width - _width(cell)) + cell if to_right else cell + " " * (width - _width(cell))
                for cell, width, to_right in zip(cells, widths, right, strict=True)
            ).rstrip()
            for cells in _fitted(line, widths, width is not None and (wraps or line is lines[0]))
        ]
        for line in lines
    ]
    rule = "-" * (sum(widths) + len(GAP) * (len(widths) - 1))
    return "\n".join([*texts[0], rule, *itertools.chain.from_iterable(texts[1:])])


def _least_widths(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> list[int]:
    """Returns the least width of each column: a number and a word of the header stay whole.

    Args:
        lines: cells of the header and of all rows.
        right: whether each column has numbers.
    """
    least = []
    for (title, *cells), is_number in zip(zip(*lines, strict=True), right, strict=True):
        longest = max(map(_width, cells), default=0)
        word = max(map(_width, title.split(" ")))
        least.append(max(word, longest if is_number else min(longest, LEAST_WIDTH)))
    return least


def _narrowed(widths: Sequence[int], least: Sequence[int], available: int) -> list[int]:
    """Returns the widths of columns that share a line: the widest are narrowed first.

    Args:
        widths: wanted widths.
        least: least widths.
        available: width for all columns.
    """

    def narrow(limit: int) -> list[int]:
        return [max(low, min(width, limit)) for width, low in zip(widths, least, strict=True)]

    limit = max(widths)
    while limit and sum(narrow(limit)) > available:
        limit -= 1
    # What is left over goes to the first narrowed columns, one character each.
    result = narrow(limit)
    for index in range(len(widths)):
        if sum(result) < available and result[index] < widths[index]:
            result[index] += 1
    return result


def _fitted(cells: Sequence[str], widths: Sequence[int], wraps: bool) -> Iterator[tuple[str, ...]]:
    """Yields the lines of one row: one line of cut cells, or as many as the longest cell needs."""
    if not wraps:
        yield tuple(_cut(text, width) for text, width in zip(cells, widths, strict=True))
        return
    columns = [wrapped(text, width) for text, width in zip(cells, widths, strict=True)]
    yield from itertools.zip_longest(*columns, fillvalue="")


def _cut(text: str, width: int) -> str:
    """Returns a text of at most a width, with an ellipsis in place of its middle: paths differ at their ends."""
    if _width(text) <= width:
        return text
    tail = _within(text[::-1], (width - 1) // 2)[::-1]
    return f"{_within(text, width - 1 - _width(tail))}{ELLIPSIS}{tail}"


def _within(text: str, width: int) -> str:
    """Returns the beginning of a text that fits a width."""
    end = 0
    while end < len(text) and _width(text[: end + 1]) <= width:
        end += 1
    return text[:end]


def wrapped(text: str, width: int) -> list[str]:
    """Returns the lines of a text that fit a width, broken at spaces, or anywhere in a word that is too long for a line."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if _width(joined) <= width:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for character in word:
            if _width(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def score_row(name: str, row: Mapping[str, Any], bad: Sequence[tuple[float, float, str | None]]) -> list[str]:
    """Returns a row of `score_table`.

    Args:
        name: name of the recording.
        row: values of a row of `utterances` by column.
        bad: start and end of each anomaly in seconds, and its cause; None if it is unknown.
    """
    spans = [
        f"bad {start_s:.1f}-{end_s:.1f} s{f' ({_as_words(cause)})' if cause else ''}" for start_s, end_s, cause in bad
    ]
    return [
        name,
        f"{row['score']:.2f}",
        f"{row['frame_score_min']:.2f}",
        f"{row['duration_s']:.1f} s",
        _decibels(row.get("snr_db")),
        _decibels(row.get("c50_db")),
        ", ".join(map(_as_words, row.get("causes") or ())),
        ", ".join([*row["flags"], *spans]),
    ]


def unscored_row(name: str, remark: str) -> list[str]:
    """Returns a row of `score_table` for a recording without a score."""
    return [name, NOTHING, NOTHING, NOTHING, "", "", "", remark]


def score_table(rows: Sequence[Sequence[str]], width: int | None) -> str:
    """Formats the scores of single recordings (`score_row`). SNR, C50 and causes are columns only if a recording has them.

    Args:
        rows: cells of each row.
        width: width of the terminal in characters, to which names and remarks are wrapped; None for lines of any length.
    """
    shown = [n for n, head in enumerate(_SCORE_HEAD) if head not in _OPTIONAL or any(row[n] for row in rows)]
    cells = [[row[n] for n in shown] for row in rows]
    right = [_SCORE_HEAD[n] not in _TEXTS for n in shown]
    return aligned([_SCORE_HEAD[n] for n in shown], cells, right, width, wraps=True)


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} dB"


def _as_words(name: str) -> str:
    """Returns the name of a cause as words: "second voice"."""
    return name.replace("_", " ")


def table_text(table: pa.Table) -> str:
    """Formats all rows of a table, with numbers aligned to the right, and adds the number of rows."""
    return f"{_table_lines(table)}\n{count_text(len(table), 'row')}"


def screen_text(table: pa.Table, more: int, width: int) -> str:
    """Formats the first rows of a result for a terminal, and says what is not shown.

    Columns of text are narrowed. Columns for which the line has no place even so are left out.

    Args:
        table: rows to show.
        more: number of further rows of the result.
        width: width of the terminal in characters.
    """
    lines = [table.schema.names, *([_printable(cell(value)) for value in row] for row in plain_rows(table))]
    least = _least_widths(lines, _is_right(table))
    count = len(least)
    while count > 1 and sum(least[:count]) + len(GAP) * (count - 1) > width:
        count -= 1
    notes = [count_text(len(table) + more, "row")]
    hidden = table.schema.names[count:]
    if more:
        notes.append(f"{more:,} more not shown")
    if hidden:
        notes.append(f"{count_text(len(hidden), 'more column')}: {_cut(', '.join(hidden), width // 2)}")
    if more or hidden:
        notes.append("`| less -S` or --output shows all")
    return f"{_table_lines(table.select(range(count)), width)}\n" + "\n".join(wrapped("; ".join(notes), width))


def _table_lines(table: pa.Table, width: int | None = None) -> str:
    rows = [[cell(value) for value in row] for row in plain_rows(table)]
    return aligned(table.schema.names, rows, _is_right(table), width)


def _is_right(table: pa.Table) -> list[bool]:
    """Returns for each column whether it has numbers, which are aligned to the right and never cut."""
    return [
        pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        for field in table.schema
    ]


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
