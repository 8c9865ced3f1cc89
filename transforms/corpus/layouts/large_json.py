"""GigaSpeech and WenetSpeech: one JSON object of gigabytes with a list `audios`, whose items have a list `segments`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from transforms.corpus.layout import Layout, Source
from transforms.corpus.listing import BadRow, Listing, ManifestListing
from transforms.corpus.manifests import RowError, manifest_finder, seconds, span_id, span_of
from transforms.corpus.rows import Rows
from transforms.elements import Span
from transforms.errors import SourceError
from transforms.storage.files import File
from transforms.storage.text_files import BrokenTextError, as_text, open_text

_NAMES = ("GigaSpeech.json", "WenetSpeech.json")
_TEXTS = ("text_tn", "text")
_NO_SPEAKER = "N/A"
# Characters at the beginning of the file in which the list must begin.
_HEAD_CHARS = 1 << 18
_BLOCK_CHARS = 1 << 20
# Longest item; an unreadable one must not take the rest of the file into memory.
_MOST_CHARS = 1 << 26
_LIST = re.compile(r'^\s*\{.*?"audios"\s*:\s*\[', re.DOTALL)
_NEXT_ITEM = re.compile(r"\}\s*,\s*(?=\{\s*\"(?:title|url|path|aid)\")")
_TIMES = {"begin_time", "end_time", "sid"}


def recognises(source: Source) -> bool:
    """Returns whether a file is such a JSON, or a folder holds one."""
    table = _table(source)
    return table is not None and table.kind == "json" and _LIST.match(_head(table)) is not None


def _table(source: Source) -> Source | None:
    if not source.is_folder:
        return source
    return next((table for name in _NAMES if (table := source.file(name)).exists), None)


def _head(table: Source) -> str:
    try:
        with open_text(table.uri, "replace") as text:
            return text.read(_HEAD_CHARS)
    except SourceError:
        return ""


def read(source: Source, listing: Listing) -> None:
    """Adds the segments as spans of their recordings, with the column `text`, and `speaker` where one is known.

    Args:
        source: the JSON, or its folder.
        listing: listing of the corpus.

    Raises:
        SourceError: the JSON holds no segment.
    """
    table = _table(source) or source
    manifest = listing.manifest(table.uri, "item")
    wanted = listing.wanted("text")
    find = manifest_finder(table.uri, listing).find
    for row in audio_items(table.uri):
        if isinstance(row, BadRow):
            manifest.reject(row)
            continue
        number, item = row
        try:
            path, segments = item.get("path"), item.get("segments")
            if not isinstance(path, str) or not path or not isinstance(segments, list):
                raise RowError("the item has no path and segments")
            file = find(path)
        except (RowError, SourceError) as error:
            manifest.reject(BadRow(number, str(error), as_text(item.get("aid"))), as_text(item.get("aid")))
            continue
        for segment in segments:
            _add_segment(segment, number, item, file, manifest, wanted)
    manifest.check_not_empty()


def _add_segment(
    segment: Any,
    number: int,
    item: dict[str, Any],
    file: File,
    manifest: ManifestListing,
    wanted: frozenset[str] | None,
) -> None:
    name = as_text(segment.get("sid")) if isinstance(segment, dict) else ""
    try:
        if not isinstance(segment, dict):
            raise RowError("a segment is not an object")
        span = span_of(seconds("begin_time", segment.get("begin_time")), seconds("end_time", segment.get("end_time")))
    except RowError as error:
        manifest.reject(BadRow(number, f"segment {name or '?'}: {error}", repr(segment)), name, file)
        return
    columns = _columns(segment, item)
    manifest.listing.columns.update(columns)
    kept = {column: value for column, value in columns.items() if wanted is None or column in wanted}
    manifest.add(file.ref(name or _id(item, span), kept, span), number)


def _id(item: dict[str, Any], span: Span) -> str:
    return span_id(as_text(item.get("aid") or item.get("path")), span)


def _columns(segment: dict[str, Any], item: dict[str, Any]) -> dict[str, str]:
    """Returns the columns of a segment: its own, and those of its recording."""
    columns = {name: as_text(value) for name, value in item.items() if name not in ("segments", "path")}
    columns |= {name: as_text(value) for name, value in segment.items() if name not in _TIMES}
    columns["text"] = next((columns[name] for name in _TEXTS if name in columns), "")
    if columns.get("speaker") == _NO_SPEAKER:
        columns["speaker"] = ""
    return columns


def audio_items(uri: str) -> Rows:
    """Yields the items of the list `audios`, one in memory at a time. One that cannot be read costs only itself.

    Raises:
        SourceError: the file does not exist, or nothing of it can be read.
    """
    number = 0
    try:
        with open_text(uri, "replace") as text:
            for row in _items(text):
                number = row[0]
                yield row
    except BrokenTextError as error:
        if not number:
            raise
        yield BadRow(number + 1, f"the rest is missing: {str(error).removeprefix(f'{uri}: ')}", str(number))


class _Buffer:
    """Text that is read a block at a time."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.text = ""
        self.is_complete = False

    def extend(self, length: int = _BLOCK_CHARS) -> bool:
        """Reads more; returns False at the end of the file."""
        block = self._file.read(length)
        self.is_complete = not block
        self.text += block
        return not self.is_complete

    def drop(self, length: int) -> None:
        """Forgets the beginning."""
        self.text = self.text[length:]


def _items(file: TextIO) -> Iterator[tuple[int, dict[str, Any]] | BadRow]:
    buffer = _Buffer(file)
    buffer.extend(_HEAD_CHARS)
    start = _LIST.match(buffer.text)
    if start is None:
        return
    at, number = start.end(), 0
    while True:
        at = _after(buffer, at, " \t\r\n,")
        if buffer.text.startswith("]", at):
            return
        number += 1
        if at == len(buffer.text):
            yield BadRow(number, "the list is cut off; items after it are missing", str(number))
            return
        item, end, fault = _item(buffer, at)
        if fault:
            yield BadRow(number, f"the item is not JSON ({fault})", buffer.text[at : at + 1000])
            end = _next_item(buffer, at + 1)
            if end == len(buffer.text):
                return
        elif isinstance(item, dict):
            yield number, item
        else:
            yield BadRow(number, "the item is not an object", as_text(item)[:1000])
        at = end
        if at > _BLOCK_CHARS:
            buffer.drop(at)
            at = 0


def _after(buffer: _Buffer, at: int, skipped: str) -> int:
    """Returns the position of the next character that is not skipped; the end of the text if there is none."""
    while True:
        while at < len(buffer.text) and buffer.text[at] in skipped:
            at += 1
        if at < len(buffer.text) or not buffer.extend():
            return at


def _item(buffer: _Buffer, at: int) -> tuple[Any, int, str]:
    """Parses the value at a position: the value, the position after it, and the fault, which is empty for a good one."""
    decode = json.JSONDecoder().raw_decode
    while True:
        try:
            item, end = decode(buffer.text, at)
            return item, end, ""
        except RecursionError as error:
            return None, at, str(error)
        except ValueError as error:
            # An error before the end of the text does not vanish when more is read, except within a string.
            position = getattr(error, "pos", 0)
            is_inside = position < len(buffer.text) - _MARGIN and not str(error).startswith("Unterminated string")
            # Twice the text each time, so that a long item is not parsed too often.
            grown = len(buffer.text) - at
            if is_inside or grown > _MOST_CHARS or not buffer.extend(max(_BLOCK_CHARS, grown)):
                return None, at, getattr(error, "msg", str(error))


# Longest token of JSON but a string, such as a number, that the end of the text may cut.
_MARGIN = 64


def _next_item(buffer: _Buffer, at: int) -> int:
    """Returns the position of the next item after an unreadable one; the end of the text if there is none."""
    while True:
        found = _NEXT_ITEM.search(buffer.text, at)
        if found is not None:
            return found.end()
        at = max(at, len(buffer.text) - _MARGIN)
        if not buffer.extend():
            return len(buffer.text)
        if at > _BLOCK_CHARS:
            buffer.drop(at)
            at = 0


LAYOUT = Layout(
    name="GigaSpeech or WenetSpeech",
    recognises=recognises,
    read=read,
    manifest_format="jsonl",
    has_spans=lambda _: True,
)
