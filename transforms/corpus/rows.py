"""Reads the rows of a manifest in any text format. A row that cannot be read costs only itself."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from transforms.corpus.listing import BadRow
from transforms.errors import SourceError
from transforms.storage.text_files import BrokenTextError, is_utf_8, open_text

# A row with the number of its line (or of the row in Parquet, of the item in a JSON array), from 1.
NumberedRow = tuple[int, dict[str, Any]]
Rows = Iterator[NumberedRow | BadRow]
Lines = Iterator[tuple[int, str] | BadRow]

# Lines that one quoted cell may span. A quotation mark that is never closed would otherwise join all lines after it.
_MOST_LINES = 200
_NOT_UTF_8 = "it is not in UTF-8; convert it, for example with iconv"
_ONE_PER_LINE = "each line must be one JSON object"
_QUOTE = '"'
# Beginning of an array of objects, and the place after an unreadable object where the next one may begin.
_ARRAY = re.compile(r"\[\s*(?:$|[{\]])")
_NEXT_ITEM = re.compile(r"\n[ \t]*(?=\{)")


def lines(uri: str) -> Lines:
    """Yields the number and the text of each line, with its end, or the fault of the line.

    Raises:
        SourceError: the file does not exist, or nothing of it can be read.
    """
    number = 0
    try:
        with open_text(uri, "surrogateescape") as text:
            for number, line in enumerate(text, start=1):
                yield (number, line) if line.isascii() or is_utf_8(line) else BadRow(number, _NOT_UTF_8, line)
    except BrokenTextError as error:
        if not number:
            raise
        reason = str(error).removeprefix(f"{uri}: ")
        yield BadRow(number + 1, f"the rest is missing: {reason}", str(number))


def stripped_lines(uri: str) -> Lines:
    """Yields the lines that are not blank, without blanks around them. See `lines`."""
    for line in lines(uri):
        if isinstance(line, BadRow):
            yield line
        elif text := line[1].strip(" \t\r\n"):
            yield line[0], text


def json_rows(uri: str) -> tuple[Rows, str]:
    """Reads JSON lines, or a JSON array of objects.

    Returns:
        The rows, and the unit of their numbers: "line" or "item".

    Raises:
        SourceError: see `lines`.
    """
    numbered = stripped_lines(uri)
    head = list(itertools.islice(numbered, 2))
    rest = itertools.chain(head, numbered)
    if head and not isinstance(head[0], BadRow) and _is_array(head):  # type: ignore[arg-type] # its first line is a line
        return _array_items(rest), "item"
    return map(_json_line, rest), "line"


def _is_array(head: Sequence[tuple[int, str]]) -> bool:
    """Returns whether a text is one array, and not JSON lines with a wrong first line.

    Args:
        head: the first lines.
    """
    text = head[0][1]
    if not _ARRAY.match(text):
        return False
    try:
        json.loads(text)
    except ValueError:
        return True  # it continues on the next line
    except RecursionError:
        return False
    return len(head) == 1


def _json_line(line: tuple[int, str] | BadRow) -> NumberedRow | BadRow:
    if isinstance(line, BadRow):
        return line
    number, text = line
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"it is not JSON ({error}); {_ONE_PER_LINE}", text)
    if not isinstance(value, dict):
        return BadRow(number, f"it is JSON, but not an object; {_ONE_PER_LINE}", text)
    return number, value


def _array_items(numbered: Lines) -> Rows:
    """Yields the items of a JSON array. After one that cannot be read, it goes on with the next line that begins an object."""
    parts = [line.content if isinstance(line, BadRow) else line[1] for line in numbered]
    text, at = "\n".join(parts), 1
    decode = json.JSONDecoder().raw_decode
    for number in itertools.count(1):
        at = _skip(text, at)
        if text.startswith("]", at):
            return
        try:
            item, at = decode(text, at)
        except (ValueError, RecursionError) as error:
            yield BadRow(number, f"the item is not JSON ({error})", text[at : at + 1000])
            following = _NEXT_ITEM.search(text, at)
            if following is None:
                return
            at = following.end()
            continue
        at = _skip(text, at)
        if isinstance(item, dict) and is_utf_8(json.dumps(item, ensure_ascii=False)):
            yield number, item
        else:
            yield BadRow(number, "it is not an object in UTF-8", str(item))
        if text.startswith(",", at):
            at += 1
        elif not text.startswith(("]", "{"), at):
            yield BadRow(number + 1, "the array is cut off; items after it are missing", text[at : at + 1000])
            return


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


class Table:
    """A table in a text file, such as CSV.

    Args:
        uri: URI of the file.
        delimiters: possible delimiters of cells; the first one with which the header is accepted is used.
        is_quoted: whether quotation marks group cells.
        accepts: function that returns whether a header is that of a manifest.
        header: names of the columns; None if the first line has them.

    A cell begins after the blanks behind a delimiter if the header has such blanks (`path, text`). Lines of blanks, and rows
    without a filled cell, are left out.

    Attributes:
        header: names of the columns, without blanks around them.
        written_header: names as the file has them; empty if it has no header.

    Raises:
        SourceError: the file does not exist, or its header cannot be read.
    """

    def __init__(
        self,
        uri: str,
        delimiters: str,
        *,
        is_quoted: bool,
        accepts: Callable[[Sequence[str]], Any] = bool,
        header: Sequence[str] | None = None,
    ) -> None:
        # Word times of a long recording in one cell exceed the usual limit of 128 KiB.
        csv.field_size_limit(max(csv.field_size_limit(), 1 << 26))
        self._lines = _Reader(lines(uri))
        self._is_quoted = is_quoted
        self._delimiter = delimiters[0]
        self._is_spaced = False
        self.written_header: list[str] = []
        if header is not None:
            self.header = list(header)
            return
        first = next((line for line in self._lines if isinstance(line, BadRow) or line[1].strip()), None)
        if isinstance(first, BadRow):
            raise SourceError(f"{uri}: the header cannot be read: {first.fault}")
        self.header = []
        if first is None:
            return
        for delimiter in delimiters:
            cells = self._split(first[1], delimiter)
            names = [name.strip() for name in cells] if cells else []
            if accepts(names):
                self.header, self._delimiter = names, delimiter
                self._is_spaced = f"{delimiter} " in first[1]
                self.written_header = cells or []
                return
            self.header = self.header or names

    def rows(self) -> Rows:
        """Yields the rows after the header."""
        for row in self.cell_rows():
            yield row if isinstance(row, BadRow) else (row[0], dict(zip(self.header, row[1], strict=True)))

    def cell_rows(self) -> Iterator[tuple[int, list[str]] | BadRow]:
        """Yields the cells of the rows after the header, with the number of the first line of each."""
        columns = len(self.header)
        for line in self._lines:
            if isinstance(line, BadRow):
                yield line
                continue
            number, text = line
            if not (self._is_quoted and _QUOTE in text):
                if not text.strip(self._delimiter + " \r\n"):
                    continue
                cells = self._split(text, self._delimiter)
            else:
                cells = self._quoted(text, columns)
            if cells is None:
                yield BadRow(number, "cannot be read as a table (a quotation mark is not closed or misplaced)", text)
            elif len(cells) != columns:
                yield BadRow(number, f"the row has {len(cells)} cells, the header {columns}", text)
            else:
                yield number, cells

    def _split(self, text: str, delimiter: str) -> list[str] | None:
        """Returns the cells of a text; None if a quotation mark is not closed or misplaced."""
        if not (self._is_quoted and _QUOTE in text):
            cells = text.rstrip("\r\n").split(delimiter)
            return [cell.strip(" ") for cell in cells] if self._is_spaced else cells
        content = io.StringIO(text, newline="")
        try:
            reader = csv.reader(content, delimiter=delimiter, strict=True, skipinitialspace=self._is_spaced)
            return next(reader, [])
        except csv.Error:
            return None

    def _quoted(self, text: str, columns: int) -> list[str] | None:
        """Returns the cells of a row with quotation marks, which may span lines; None if it cannot be read.

        If the lines together are no row, only the first is lost.
        """
        cells = self._split(text, self._delimiter)
        if cells is not None:
            return cells
        further: list[tuple[int, str] | BadRow] = []
        for line in self._lines:
            further.append(line)
            if isinstance(line, BadRow) or len(further) == _MOST_LINES:
                break
            text += line[1]
            if _QUOTE in line[1]:
                cells = self._split(text, self._delimiter)
                if cells is not None:
                    break
        if cells is None or len(cells) != columns:
            self._lines.push_back(further)
            return None
        return cells


class _Reader:
    """An iterator of lines that takes lines back."""

    def __init__(self, numbered: Lines) -> None:
        self._numbered = numbered
        self._returned: deque[tuple[int, str] | BadRow] = deque()

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> tuple[int, str] | BadRow:
        return self._returned.popleft() if self._returned else next(self._numbered)

    def push_back(self, numbered: Sequence[tuple[int, str] | BadRow]) -> None:
        """Puts lines in front of the others."""
        self._returned.extendleft(reversed(numbered))
