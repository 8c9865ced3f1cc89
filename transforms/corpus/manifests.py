"""Manifests of recordings, or of spans of them: CSV, TSV, JSON lines (as NeMo writes them), Parquet and lists of paths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives.member import has_audio_suffix
from transforms.corpus.columns import ColumnNames, Roles, check_choice, check_header, spans_in_samples
from transforms.corpus.listing import BadRow, Listing, ManifestListing
from transforms.corpus.parquet_rows import ParquetTable
from transforms.corpus.rows import Rows, Table, json_rows, stripped_lines
from transforms.elements import WHOLE, AudioRef, Span
from transforms.errors import SourceError
from transforms.storage.files import File, Finder, is_local
from transforms.storage.text_files import as_text, cell_text, is_missing

# Delimiters of `.csv`; a header with a column of paths decides.
DELIMITERS = ",;\t|"
# Rows that are looked at to choose between two columns that may both be the path.
_SAMPLE_ROWS = 20
# Rows after which the names of the columns of JSON are known.
_NAMED_ROWS = 1000
# Largest number of distinct cells, such as speakers and languages, that rows share in memory.
_SHARED_TEXTS = 100_000
# Usual names of the path that the reject of a single row mentions.
_SOME_PATH_COLUMNS = ("audio_filepath", "file_name", "wav", "...")
_NO_COLUMNS: dict[str, str] = {}

Find = Callable[[str], File]


class RowError(ValueError):
    """A row names no recording, or a wrong part of one."""


def read_manifest(uri: str, kind: str, listing: Listing) -> None:
    """Reads the utterances of a manifest without a known layout.

    Args:
        uri: URI of the manifest. Paths in it are relative to its folder or to `audio_root`, absolute, or have a scheme.
        kind: format: "csv", "tsv", "json", "jsonl", "parquet" or "txt".
        listing: listing to which the utterances are added.

    Raises:
        SourceError: the manifest has no row or no path, or cannot be read at all.
    """
    options = listing.options
    find = manifest_finder(uri, listing).find
    if kind == "txt":
        if options.columns:
            raise SourceError(f"{uri}: a list of paths has no columns; leave out --columns")
        paths = (row if isinstance(row, BadRow) else (row[0], {"path": row[1]}) for row in stripped_lines(uri))
        read_rows(listing.manifest(uri), paths, ColumnNames({}, listing.wanted()), find)
        return
    carried = [role for role in ("text", "speaker") if options.columns.get(role)]
    names = ColumnNames(options.columns, listing.wanted(*carried))
    if kind in ("json", "jsonl"):
        rows, unit = json_rows(uri)
        read_rows(listing.manifest(uri, unit), rows, names, find)
    elif kind == "parquet":
        parquet = ParquetTable(uri)
        check_header(uri, parquet.names, names)
        listing.columns.update(parquet.names)
        roles = names.roles(tuple(parquet.names))
        needed = {*names.path_candidates(parquet.names), roles.id, roles.spare, *(name for name, _ in roles.copied)}
        needed |= {time[0] for time in (roles.start, roles.end, roles.duration) if time}
        selected = [name for name in parquet.names if name in needed]
        read_rows(listing.manifest(uri, "row"), parquet.rows(selected), names, find)
    else:
        read_table(manifest_table(uri, kind, names), listing.manifest(uri), names, find)


def manifest_table(uri: str, kind: str, names: ColumnNames) -> Table:
    """Returns the table of a manifest in CSV or TSV.

    Raises:
        SourceError: the file does not exist, or its header cannot be read.
    """
    delimiters = DELIMITERS if kind == "csv" else "\t"
    # TSV has no quoting: Common Voice and similar corpora have unpaired marks, which would join the following lines.
    return Table(uri, delimiters, is_quoted=kind == "csv", accepts=names.path_candidates)


def read_table(table: Table, manifest: ManifestListing, names: ColumnNames, find: Find, id_prefix: str = "") -> None:
    """Reads the utterances of a table. See `read_rows`.

    Raises:
        SourceError: the table has no row or no path.
    """
    check_header(manifest.uri, table.header, names)
    manifest.listing.columns.update(filter(None, table.header))
    read_rows(manifest, table.rows(), names, find, id_prefix)


def manifest_finder(uri: str, listing: Listing, *subfolders: str, others: Sequence[str] = ()) -> Finder:
    """Returns the finder of the files that a manifest names.

    Args:
        uri: URI of the manifest.
        listing: listing of the corpus, whose options may name another folder.
        subfolders: names of folders below in which files may be, too.
        others: further folders in which files may be.
    """
    root = listing.options.audio_root or FileSystems.split(uri)[0]
    return Finder(root, *(FileSystems.join(root, name) for name in subfolders), *others)


def read_rows(
    manifest: ManifestListing,
    rows: Rows,
    names: ColumnNames,
    find: Find,
    id_prefix: str = "",
    prefixes_ids: bool = False,
) -> None:
    """Adds the utterances of rows to a listing.

    A row is a span of its recording if it has a start or an end. A duration is the length of the span if the row has a start
    and no column of an end; otherwise it is carried like any column, because NeMo writes it for whole recordings.

    Args:
        manifest: listing of the manifest.
        rows: rows; those that cannot be used are rejected.
        names: names of the columns.
        find: function that returns the file at a path of a row.
        id_prefix: text before ids that are made of paths.
        prefixes_ids: whether that text also comes before the ids of rows.

    Raises:
        SourceError: there is no row, or two columns may be the path.
    """
    head = list(itertools.islice(rows, _SAMPLE_ROWS))
    names = _with_path(manifest, [row[1] for row in head if not isinstance(row, BadRow)], names, find)
    reader = _RowReader(names, find, id_prefix, prefixes_ids)
    seen: set[str] = set()
    for index, row in enumerate(itertools.chain(head, rows)):
        if isinstance(row, BadRow):
            manifest.reject(row)
            continue
        number, cells = row
        if index < _NAMED_ROWS:
            seen.update(cells)
        try:
            manifest.add(reader.utterance(cells), number)
        except RowError as error:
            manifest.reject(BadRow(number, str(error), repr(cells)), *reader.identity(cells))
    manifest.check_not_empty()
    manifest.listing.columns |= seen - {""}
    if seen:
        check_choice(manifest.uri, names, sorted(seen))
        _note_samples(manifest, names, sorted(seen))


def _note_samples(manifest: ManifestListing, names: ColumnNames, columns: Sequence[str]) -> None:
    roles = names.roles(tuple(columns))
    in_samples = spans_in_samples(columns)
    if in_samples and not (roles.start or roles.end):
        manifest.listing.notes.append(
            f"{manifest.uri}: the columns {' and '.join(map(repr, in_samples))} are not read, because they count samples or "
            "frames; whole recordings are scored; for spans, write times in seconds (start, end)"
        )


def _with_path(
    manifest: ManifestListing, rows: Sequence[Mapping[str, Any]], names: ColumnNames, find: Find
) -> ColumnNames:
    """Decides which column is the path, if the names leave a choice: the only one whose files exist, or look like audio.

    Raises:
        SourceError: there are still two.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    candidates = names.path_candidates(columns)
    # Columns that no row has together, or that say the same, leave no choice.
    doubtful = [row for row in rows if len({str(row[name]) for name in candidates if row.get(name)}) > 1]
    if not doubtful:
        return names
    values = {name: [value for row in doubtful if isinstance(value := row.get(name), str)] for name in candidates}
    for looks_right in (lambda path: _is_there(path, find), has_audio_suffix, bool):
        likely = [name for name in candidates if any(map(looks_right, values[name]))]
        if len(likely) > 1:
            options = " or ".join(f"--columns path={name}" for name in likely)
            raise SourceError(
                f"{manifest.uri}: the columns {' and '.join(map(repr, likely))} may both be the path of the recording; choose "
                f"one with {options}"
            )
        if likely:
            others = [name for name in candidates if name != likely[0]]
            manifest.listing.notes.append(
                f"{manifest.uri}: the path of the recording is the column {likely[0]!r}, not {' or '.join(map(repr, others))}; "
                f"choose another one with --columns path={others[0]}"
            )
            return names.with_path(likely[0])
    return names


def _is_there(path: str, find: Find) -> bool:
    try:
        return is_local(path) and find(path).is_there
    except SourceError:
        return False


class _RowReader:
    """Makes utterances of rows."""

    def __init__(self, names: ColumnNames, find: Find, id_prefix: str, prefixes_ids: bool) -> None:
        self._names, self._find, self._id_prefix = names, find, id_prefix
        self._prefixes_ids = prefixes_ids
        self._shared: dict[str, str] = {}

    def utterance(self, row: Mapping[str, Any]) -> AudioRef:
        """Returns the utterance of a row.

        Raises:
            RowError: the row cannot be used.
        """
        roles = self._names.roles(tuple(row))
        if roles.path is None:
            raise RowError(f"the row has no path; {self._names.needed(list(row), _SOME_PATH_COLUMNS)}")
        path = _path(roles.path, row[roles.path])
        try:
            file = self._find(path)
        except SourceError as error:
            raise RowError(str(error)) from error
        span = _span(row, roles)
        utterance_id = self._own_id(row, roles) or self._id_prefix + span_id(path, span)
        return file.ref(utterance_id, self._columns(row, roles), span)

    def identity(self, row: Mapping[str, Any]) -> tuple[str, File | None]:
        """Returns the id and the recording of a row that cannot be used, as far as they are known."""
        roles = self._names.roles(tuple(row))
        try:
            path = _path(roles.path, row[roles.path]) if roles.path else ""
            file = self._find(path) if path else None
        except ValueError:
            path, file = "", None
        try:
            return self._own_id(row, roles) or (self._id_prefix + path if path else ""), file
        except RowError:
            return "", file

    def _own_id(self, row: Mapping[str, Any], roles: Roles) -> str:
        own = _id(row, roles)
        return self._id_prefix + own if own and self._prefixes_ids else own

    def _columns(self, row: Mapping[str, Any], roles: Roles) -> Mapping[str, str]:
        copied = roles.copied
        if roles.spare is not None and roles.start is not None and row[roles.start[0]] in (None, ""):
            copied = (*copied, (roles.spare, roles.spare))
        if not copied:
            return _NO_COLUMNS
        shared = self._shared
        columns = {}
        for name, copy in copied:
            text = cell_text(row[name])
            # A text and the JSON of a number may be equal.
            key = text if type(text) is str else f"\0{text}"
            columns[copy] = shared.setdefault(key, text) if len(shared) < _SHARED_TEXTS else shared.get(key, text)
        return columns


def _path(column: str, value: Any) -> str:
    if isinstance(value, Mapping) and value.get("path"):  # `datasets` writes a struct of path and bytes
        value = value["path"]
    if is_missing(value) or value == "":
        raise RowError("the path is empty")
    if not isinstance(value, str):
        raise RowError(f"{column} is {as_text(value)[:80]}, which is not a path")
    return value


def _id(row: Mapping[str, Any], roles: Roles) -> str:
    value = row[roles.id] if roles.id is not None else None
    if isinstance(value, (list, dict, bool)):
        raise RowError(f"{roles.id} is {as_text(value)[:80]}, which is not an id; must be a text or a number")
    return as_text(value)


def span_id(name: str, span: Span) -> str:
    """Returns the id of a span without its own id: the recording with the start and end of the span, to a millisecond."""
    if span == WHOLE:
        return name
    return f"{name}#{span.start_s:.3f}-{'end' if span.end_s is None else f'{span.end_s:.3f}'}"


def span_of(start_s: float, end_s: float | None) -> Span:
    """Returns a span of a recording.

    Raises:
        RowError: the end is not after the start.
    """
    if end_s is not None and end_s <= start_s:
        raise RowError(f"the span is {start_s:g} s to {end_s:g} s; the end must be after the start")
    return WHOLE if end_s is None and not start_s else Span(start_s, end_s)


def seconds(name: str, value: Any) -> float:
    """Parses a time in seconds.

    Args:
        name: name of the value, for the error.
        value: number or text.

    Raises:
        RowError: the value is not a number, or is negative.
    """
    number = _number(value)
    if not math.isfinite(number):
        text = "NaN" if is_missing(value) and value is not None else as_text(value)
        raise RowError(f"{name} is {text[:80]!r}, which is not a number of seconds")
    if number < 0:
        raise RowError(f"{name} is {number:g}; must not be negative")
    return number


def _number(value: Any) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _span(row: Mapping[str, Any], roles: Roles) -> Span:
    start, end = _time(row, roles.start), _time(row, roles.end)
    if roles.duration is None:
        return span_of(start or 0.0, end)
    if start is not None and roles.end is None:
        length = _time(row, roles.duration)
        # Rounded to a nanosecond, which removes the rounding error of a sum such as 1.1 + 2.2.
        return span_of(start, None if length is None else round(start + length, 9))
    value = row[roles.duration[0]]
    if value is not None and _number(value) <= 0:
        raise RowError(f"{roles.duration[0]} is {_number(value):g}; must be over 0")
    return span_of(start or 0.0, end)


def _time(row: Mapping[str, Any], column: tuple[str, float] | None) -> float | None:
    if column is None:
        return None
    name, scale = column
    value = row[name]
    if value is None or value == "":
        return None
    return seconds(name, value) if scale == 1.0 else round(seconds(name, value) * scale, 9)
