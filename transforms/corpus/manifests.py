"""Manifests of recordings, or of spans of them: CSV, TSV, JSON lines (as NeMo writes them), Parquet and lists of paths."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.elements import WHOLE, AudioRef, Span
from transforms.errors import SourceError
from transforms.storage.files import Finder
from transforms.storage.text_files import as_text, cell_text, lines, open_text

# Names for the same column. The first one in the manifest is used; the others are carried like any column.
PATH_COLUMNS = ("path", "audio_filepath", "audio", "file", "wav")
ID_COLUMNS = ("id", "utterance_id")
START_COLUMNS = ("start", "start_s", "offset")
END_COLUMNS = ("end", "end_s")
DURATION_COLUMN = "duration"

_PARQUET_ROWS = 10_000
# Largest number of distinct cells, such as speakers and languages, that rows share in memory.
_SHARED_TEXTS = 100_000

# A row with the number of its line, or of the row in Parquet, from 1.
NumberedRow = tuple[int, dict[str, Any]]


def read_csv(uri: str) -> list[AudioRef]:
    """Reads the utterances of a CSV file with a header. See `utterance_refs`."""
    return utterance_refs(uri, _table(uri, csv.excel))


def read_tsv(uri: str) -> list[AudioRef]:
    """Reads the utterances of a TSV file with a header. See `utterance_refs`.

    Quotation marks are text. Common Voice and similar corpora have unpaired ones, which would join the following lines.
    """
    return utterance_refs(uri, _table(uri, CellTabs))


def read_list(uri: str) -> list[AudioRef]:
    """Reads a list of paths, one per line, and ignores blanks around them. See `utterance_refs`."""
    return utterance_refs(uri, ((number, {PATH_COLUMNS[0]: path}) for number, path in lines(uri)))


def read_parquet(uri: str) -> list[AudioRef]:
    """Reads the utterances of a Parquet file without its binary columns. See `utterance_refs`."""
    return utterance_refs(uri, _parquet(uri), unit="row")


def utterance_refs(uri: str, rows: Iterable[NumberedRow], unit: str = "line") -> list[AudioRef]:
    """Returns the utterances that a manifest lists, in its order.

    Args:
        uri: URI of the manifest. Paths in it are relative to its folder, absolute, or have a scheme.
        rows: rows with their numbers; this function removes the cells that it uses. A row has a path (`PATH_COLUMNS`) and
            may have an id. It is a span of the recording if it has a start (`START_COLUMNS`) or an end (`END_COLUMNS`) in
            seconds. `duration` is the length of the span if the row has a start and no end; otherwise it is carried like any
            column, because NeMo writes it for whole recordings.
        unit: unit of the numbers, "line" or "row".

    Raises:
        SourceError: the manifest has no row, or a row is invalid.
    """
    finder = Finder(FileSystems.split(uri)[0])
    shared: dict[str, str] = {}
    refs = []
    for number, row in rows:
        try:
            refs.append(row_ref(row, finder, shared))
        except SourceError as error:
            raise SourceError(f"{uri}, {unit} {number}: {error}") from error
    if not refs:
        raise SourceError(f"{uri}: the manifest is empty")
    return refs


def row_ref(row: dict[str, Any], finder: Finder, shared: dict[str, str]) -> AudioRef:
    """Returns the utterance of a row, and removes the cells that it uses; `utterance_refs` has the details."""
    name = _first(row, PATH_COLUMNS)
    if name is None:
        raise SourceError(f"the row has no path; {_needed(list(row))}")
    path = row.pop(name)
    if path is None or path == "":
        raise SourceError("the path is empty")
    if not isinstance(path, str):
        raise SourceError(f"{name} is {as_text(path)[:80]}, which is not a path; {_needed([])}")
    file = finder.find(path)
    utterance_id = as_text(_take(row, ID_COLUMNS))
    span = _span(row)
    columns = {}
    for name, value in row.items():
        if name:
            text = cell_text(value)
            # A text and the JSON of a number may be equal.
            key = text if type(text) is str else f"\0{text}"
            columns[name] = shared.setdefault(key, text) if len(shared) < _SHARED_TEXTS else shared.get(key, text)
    return file.ref(utterance_id or span_id(path, span), columns, span)


def span_id(name: str, span: Span) -> str:
    """Returns the id of a span without its own id: the recording with the start and end of the span, to a millisecond."""
    if span == WHOLE:
        return name
    return f"{name}#{span.start_s:.3f}-{'end' if span.end_s is None else f'{span.end_s:.3f}'}"


def span_of(start_s: float, end_s: float | None) -> Span:
    """Returns a span of a recording.

    Raises:
        SourceError: the end is not after the start.
    """
    if end_s is not None and end_s <= start_s:
        raise SourceError(f"the span is {start_s:g} s to {end_s:g} s; the end must be after the start")
    return WHOLE if end_s is None and not start_s else Span(start_s, end_s)


def seconds(name: str, value: Any) -> float:
    """Parses a time in seconds.

    Args:
        name: name of the value, for the error.
        value: number or text.

    Raises:
        SourceError: the value is not a number, or is negative.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise SourceError(f"{name} is {as_text(value)[:80]!r}, which is not a number of seconds")
    if number < 0:
        raise SourceError(f"{name} is {number:g}; must not be negative")
    return number


def _span(row: dict[str, Any]) -> Span:
    has_end = _first(row, END_COLUMNS) is not None
    start, end = _take_seconds(row, START_COLUMNS), _take_seconds(row, END_COLUMNS)
    if start is not None and not has_end:
        length = _take_seconds(row, (DURATION_COLUMN,))
        # Rounded to a nanosecond, which removes the rounding error of a sum such as 1.1 + 2.2.
        end = None if length is None else round(start + length, 9)
    return span_of(start or 0.0, end)


def _first(row: dict[str, Any], names: Sequence[str]) -> str | None:
    for name in names:  # a generator would cost seconds for a million rows
        if name in row:
            return name
    return None


def _take(row: dict[str, Any], names: Sequence[str]) -> Any:
    """Removes the first of these cells from the row and returns its value; None if no cell exists or it is empty."""
    name = _first(row, names)
    value = None if name is None else row.pop(name)
    return None if value == "" else value


def _take_seconds(row: dict[str, Any], names: Sequence[str]) -> float | None:
    name = _first(row, names)
    value = _take(row, names)
    return None if name is None or value is None else seconds(name, value)


def _needed(columns: Sequence[str]) -> str:
    known = f"a manifest needs a column {PATH_COLUMNS[0]!r} (or {', '.join(PATH_COLUMNS[1:])})"
    return f"{known}; it has {', '.join(columns)}" if columns else known


class CellTabs(csv.Dialect):
    """TSV without quoting."""

    delimiter = "\t"
    quoting = csv.QUOTE_NONE
    lineterminator = "\n"


def _table(uri: str, dialect: type[csv.Dialect]) -> Iterator[NumberedRow]:
    with open_text(uri) as text:
        reader = csv.reader(text, dialect, strict=True)
        try:
            header = next(reader, [])
            _check_header(uri, header)
            for cells in reader:
                if len(cells) == len(header):
                    yield reader.line_num, dict(zip(header, cells, strict=True))
                elif cells:  # an empty line has none
                    cell_count = f"the row has {len(cells)} cells, the header {len(header)}"
                    raise SourceError(f"{uri}, line {reader.line_num}: {cell_count}")
        except csv.Error as error:
            raise SourceError(f"{uri}, line {reader.line_num}: cannot be read as a table ({error})") from error


def _check_header(uri: str, header: Sequence[str]) -> None:
    if not set(PATH_COLUMNS) & set(header):
        raise SourceError(f"{uri}: {_needed(header)}" + ("" if header else "; its header is empty"))
    repeated = [name for name in header if name and header.count(name) > 1]
    if repeated:
        raise SourceError(f"{uri}: the column {repeated[0]!r} occurs twice; rename one of them")


def _parquet(uri: str) -> Iterator[NumberedRow]:
    if not FileSystems.exists(uri):
        raise SourceError(f"{uri}: there is no such manifest")
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        try:
            table = pq.ParquetFile(file)
            names = [field.name for field in table.schema_arrow if not _is_binary(field.type)]
            _check_header(uri, names)
            number = 0
            for batch in table.iter_batches(_PARQUET_ROWS, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{uri}: the manifest cannot be read as Parquet ({error})") from error


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
