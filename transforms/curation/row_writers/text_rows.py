"""Writes rows of the corpus back to text files: JSON lines, CSV, TSV and lists of paths."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from transforms.corpus.source_rows import FILE_ROWS, Manifests, json_objects, table_rows, written_names
from transforms.curation.manifest_writers import json_line
from transforms.curation.piece_texts import TextState
from transforms.curation.row_writers.flat_rows import FlatRows
from transforms.curation.row_writers.matching import SourceRows, merged
from transforms.elements import printable
from transforms.storage.text_files import as_text

_BREAKS = re.compile(r"\r\n|[\t\r\n]")
_CRLF = "\r\n"


def write_jsonl(rows: SourceRows, path: Path) -> Counter[TextState]:
    """Writes a NeMo manifest. A row without changed cells keeps its text, so that its numbers are written as they were."""
    flat = FlatRows(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        for (line, row), utterances in merged(rows.found(), _json_rows(rows.manifests)):
            for utterance in utterances:
                changed, new = flat.changes(row, utterance), flat.new_cells(row, utterance)
                is_copied = line and not changed
                text = _extended(line, new) if is_copied else json_text(_without_nulls(row, changed) | new)
                file.write(f"{text}\n")
        for utterance in rows.without_row():
            cells = flat.without_row(utterance, rows.kept.columns)
            file.write(f"{json_text({name: value for name, value in cells.items() if value is not None})}\n")
    return flat.pieces


def json_text(value: dict[str, Any]) -> str:
    """Returns an object as JSON without a line break. Half of a surrogate pair, which UTF-8 cannot hold, is escaped."""
    text = json_line(value)
    return text if text.isascii() or printable(text) == text else json.dumps(value)


def _without_nulls(row: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Returns a row with its changed cells; without those that are null now."""
    return {name: value for name, value in (row | changed).items() if value is not None or name not in changed}


def _extended(line: str, cells: dict[str, Any]) -> str:
    """Returns the text of a JSON object that is not empty, with further cells at its end."""
    return f"{line[:-1].rstrip()}, {json_line(cells)[1:]}"


def _json_rows(manifests: Manifests) -> Iterator[tuple[int, tuple[str, dict[str, Any]]]]:
    for index, uri in enumerate(manifests.uris):
        for number, line, row in json_objects(manifests, uri):
            yield index * FILE_ROWS + number, (line, row)


def write_table(rows: SourceRows, path: Path) -> Counter[TextState]:
    """Writes a CSV or TSV file with the header of the corpus and the new columns. Cells keep their text."""
    flat = FlatRows(rows)
    format = rows.manifests.format
    with path.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(_Lines(file), lineterminator=_CRLF).writerow if format == "csv" else _tsv_writer(file)
        written = written_names(rows.manifests)
        write([written.get(name, name) for name in flat.columns])
        for (names, cells), utterances in merged(rows.found(), _tables(rows.manifests)):
            row = dict(zip(names, cells, strict=True))
            for utterance in utterances:
                changed, new = flat.changes(row, utterance), flat.new_cells(row, utterance)
                if names == list(rows.names):
                    own = list(cells)
                    for name, value in changed.items():
                        own[names.index(name)] = as_text(value)
                    write([*own, *(as_text(new.get(name)) for name in flat.new.values())])
                else:
                    values = row | changed | new
                    write([as_text(values.get(name)) for name in flat.columns])
        for utterance in rows.without_row():
            values = flat.without_row(utterance, rows.kept.columns)
            write([as_text(values.get(name)) for name in flat.columns])
    return flat.pieces


class _Lines:
    """Replaces CR LF at the end of a line by LF. `csv.writer` must write CR LF, or it would not quote a CR in a text."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> None:
        self._file.write(line.removesuffix(_CRLF) + "\n")


def _tsv_writer(file: TextIO) -> Any:
    def write(cells: list[str]) -> None:
        # No cell of a TSV file holds a tab or a line break. A carried column may, if the row of the corpus is gone.
        file.write("\t".join(_BREAKS.sub(" ", cell) for cell in cells) + "\n")

    return write


def _tables(manifests: Manifests) -> Iterator[tuple[int, tuple[list[str], list[str]]]]:
    for index, uri in enumerate(manifests.uris):
        header, numbered = table_rows(manifests, uri)
        for number, cells in numbered:
            yield index * FILE_ROWS + number, (header, cells)


def write_paths(rows: SourceRows, path: Path) -> Counter[TextState]:
    """Writes a list of paths in the order of the corpus."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for utterance in (*rows.found(), *rows.without_row()):
            file.write(f"{utterance['path']}\n")
    return Counter()
