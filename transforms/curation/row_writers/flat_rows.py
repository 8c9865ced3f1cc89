"""Cells that a filter changes in rows of the corpus, or adds to them, for tables and NeMo manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transforms.corpus.manifests import DURATION_COLUMN, END_COLUMNS, ID_COLUMNS, PATH_COLUMNS, START_COLUMNS
from transforms.curation.manifest_writers import field_values
from transforms.curation.piece_texts import TextState
from transforms.curation.row_writers.matching import SourceRows
from transforms.curation.row_writers.piece_fields import cut_fields
from transforms.elements import printable
from transforms.schemas import TRIMMED
from transforms.storage.text_files import as_text

# Begins the name of a new column if the corpus has a column of that name.
PREFIX = "audiosieve_"
_NEMO_PATH, _NEMO_START = "audio_filepath", "offset"


def free_name(name: str, names: Iterable[str]) -> str:
    """Returns the name of a new column that differs from other names, even if case is ignored."""
    taken = {other.lower() for other in names}
    if name not in taken:
        return name
    candidate, number = f"{PREFIX}{name}", 2
    while candidate in taken:
        candidate, number = f"{PREFIX}{name}_{number}", number + 1
    return candidate


class FlatRows:
    """Cells of the rows of kept utterances.

    Attributes:
        columns: names of the columns of the corpus, then those of new columns.
        new: names of the new columns, by their meaning: `id`, `start`, `duration`, `channel`, `score`, `trimmed`.
        pieces: number of pieces by how they got their texts.

    Args:
        rows: rows of kept utterances.
    """

    def __init__(self, rows: SourceRows) -> None:
        names = rows.names
        self._is_trimmed, self._splits_channels = rows.is_trimmed, rows.splits_channels
        self._path = next((name for name in PATH_COLUMNS if name in names), PATH_COLUMNS[0])
        self._id = next((name for name in ID_COLUMNS if name in names), None)
        has_start = any(name in names for name in START_COLUMNS)
        self.new: dict[str, str] = {}
        if self._id is None:
            self.new["id"] = free_name(ID_COLUMNS[0], names)
        if not has_start and (rows.has("piece_start_us IS NOT NULL") or (rows.lacking and rows.has("NOT whole"))):
            self.new["start"] = _NEMO_START if self._path == _NEMO_PATH else START_COLUMNS[0]
        if DURATION_COLUMN not in names:
            self.new["duration"] = free_name(DURATION_COLUMN, names)
        if rows.has("channel IS NOT NULL"):
            self.new["channel"] = free_name("channel", names)
        self.new["score"] = free_name("score", names)
        if rows.is_trimmed:
            self.new[TRIMMED] = free_name(TRIMMED, names)
        self.columns = [*names, *self.new.values()]
        self.pieces: Counter[TextState] = Counter()

    def changes(self, row: Mapping[str, Any], utterance: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the cells of a row that are others for a kept utterance; mostly none.

        A path that is relative to the manifest becomes that of the recording, because the new manifest is in another folder.

        Args:
            row: cells of the corpus.
            utterance: row of `SourceRows.found`.
        """
        changed: dict[str, Any] = {}
        path = next(name for name in PATH_COLUMNS if name in row)
        if printable(row[path]) != utterance["path"]:
            changed[path] = utterance["path"]
        is_piece = utterance["piece_start_us"] is not None
        name = next((name for name in ID_COLUMNS if name in row), self._id)
        if name is not None:
            text = as_text(row.get(name))
            # The id of a row without an id is its path.
            if text != utterance["id"] and (text or changed or is_piece or self._splits_channels):
                changed[name] = utterance["id"]
        if is_piece:
            cells, state = cut_fields(row, utterance)
            self.pieces[state] += 1
            changed |= cells
            if not any(name in row for name in START_COLUMNS):
                start = next((name for name in START_COLUMNS if name in self.columns), None)
                changed |= {} if start is None or start in self.new.values() else {start: utterance["start_s"]}
        return changed

    def new_cells(self, row: Mapping[str, Any], utterance: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the cells that a row gets for a kept utterance: those of the new columns, and a length if it has none.

        Args:
            row: cells of the corpus.
            utterance: row of `SourceRows`.
        """
        is_piece = utterance["piece_start_us"] is not None
        values = {
            "id": utterance["id"],
            "start": utterance["start_s"] if is_piece or "place" not in utterance else None,
            "duration": self._duration(utterance),
            "channel": utterance["channel"],
            "score": utterance["score"],
            TRIMMED: is_piece,
        }
        new = {name: values[meaning] for meaning, name in self.new.items() if values[meaning] is not None}
        return (
            new
            if DURATION_COLUMN in row or "duration" in self.new
            else {DURATION_COLUMN: self._duration(utterance), **new}
        )

    def without_row(self, utterance: Mapping[str, Any], carried: Sequence[str]) -> dict[str, Any]:
        """Returns the cells of a kept utterance that has no row in the corpus any more: its place and its carried columns.

        Args:
            utterance: row of `SourceRows.without_row`.
            carried: names of the further columns.
        """
        cells = {name: value for name, value in field_values(utterance, carried).items() if name in self.columns}
        cells[self._path] = utterance["path"]
        if self._id is not None:
            cells[self._id] = utterance["id"]
        if not utterance["whole"]:
            times = {**dict.fromkeys(START_COLUMNS, "start_s"), **dict.fromkeys(END_COLUMNS, "end_s")}
            cells |= {name: utterance[key] for name, key in times.items() if name in self.columns}
        cells[self.new.get("duration", DURATION_COLUMN)] = self._duration(utterance)
        return cells | self.new_cells(cells, utterance)

    def _duration(self, utterance: Mapping[str, Any]) -> float:
        if utterance["whole"]:
            return float(utterance["duration_s"])
        return float(round(utterance["end_s"] - utterance["start_s"], 9))
