"""Cells that a filter changes in rows of the corpus, or adds to them, for tables and NeMo manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from transforms.corpus.columns import ID_COLUMNS, PATH_COLUMNS
from transforms.curation.kept_list import free_name
from transforms.curation.manifest_writers import field_values
from transforms.curation.piece_texts import TextState
from transforms.curation.row_writers.matching import SourceRows
from transforms.curation.row_writers.piece_fields import audio_fields, cut_fields
from transforms.elements import printable
from transforms.schemas import TRIMMED
from transforms.storage.text_files import as_text

_START, _DURATION = "start", "duration"
_NEMO_PATH, _NEMO_START = "audio_filepath", "offset"


def time_cell(column: tuple[str, float], time_s: float) -> dict[str, Any]:
    """Returns the cell of a time.

    Args:
        column: name of the column, and the seconds in its unit.
        time_s: time in seconds.
    """
    name, scale = column
    return {name: time_s if scale == 1.0 else round(time_s / scale)}


def _path_text(value: Any) -> str:
    """Returns the path in a cell; `datasets` writes a struct of path and bytes."""
    path = value.get("path") if isinstance(value, Mapping) else value
    return path if isinstance(path, str) else ""


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
        self._are_files = rows.are_files
        self._names = rows.manifests.names
        roles = self._names.roles(tuple(names))
        self._path, self._id = roles.path or PATH_COLUMNS[0], roles.id
        self._start, self._end, self._length = roles.start, roles.end, roles.duration
        self.new: dict[str, str] = {}
        if self._id is None:
            self.new["id"] = free_name(ID_COLUMNS[0], names)
        is_new_start = self._start is None and not rows.are_files
        if is_new_start and (rows.has("piece_start_us IS NOT NULL") or (rows.lacking and rows.has("NOT whole"))):
            self.new["start"] = _NEMO_START if self._path == _NEMO_PATH else _START
        if self._length is None:
            self.new["duration"] = free_name(_DURATION, names)
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
        roles = self._names.roles(tuple(row))
        path = self._path_of(row, utterance.get("source_path", utterance["path"]))
        if path is not None and printable(_path_text(row[path])) != utterance["path"]:
            is_struct = isinstance(row[path], Mapping)
            changed[path] = {**row[path], "path": utterance["path"]} if is_struct else utterance["path"]
        is_piece = utterance["piece_start_us"] is not None
        name = roles.id or self._id
        if name is not None:
            text = as_text(row.get(name))
            # The id of a row without an id is its path.
            if text != utterance["id"] and (text or changed or is_piece or self._splits_channels):
                changed[name] = utterance["id"]
        if is_piece:
            cells, state = cut_fields(row, utterance, self._names.choice.get("text"))
            self.pieces[state] += 1
            changed |= cells
            if self._start is not None and roles.start is None:
                changed |= time_cell(self._start, utterance["start_s"])
            for time, time_s in ((roles.start, utterance["start_s"]), (roles.end, utterance["end_s"])):
                changed |= {} if time is None else time_cell(time, time_s)
            changed |= {} if roles.duration is None else time_cell(roles.duration, self._duration(utterance))
        if self._are_files:
            # A file has nothing before and after the utterance.
            changed |= {time[0]: None for time in (roles.start, roles.end) if time is not None}
            changed |= audio_fields(row, utterance)
        return changed

    def own_columns(self, names: Sequence[str]) -> list[str]:
        """Returns the columns of which cells may change in rows of whole utterances."""
        roles = self._names.roles(tuple(names))
        times = {time[0] for time in (roles.start, roles.end, roles.duration) if time}
        return [name for name in names if name in {roles.id, *times, *self._names.path_candidates(names)}]

    def _path_of(self, row: Mapping[str, Any], path: str) -> str | None:
        """Returns the column that names the recording of an utterance; None if none does."""
        names = tuple(row)
        for name in self._names.path_candidates(names):
            text = printable(_path_text(row[name]))
            if text and (text == path or path.endswith(f"/{text}")):
                return name
        return self._names.roles(names).path

    def new_cells(self, row: Mapping[str, Any], utterance: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the cells that a row gets for a kept utterance: those of the new columns, and a length if it has none.

        Args:
            row: cells of the corpus.
            utterance: row of `SourceRows`.
        """
        is_piece = utterance["piece_start_us"] is not None
        values = {
            "id": utterance["id"],
            "start": utterance["start_s"] if not self._are_files and (is_piece or "place" not in utterance) else None,
            "duration": self._duration(utterance),
            "channel": utterance["channel"],
            "score": utterance["score"],
            TRIMMED: is_piece,
        }
        new = {name: values[meaning] for meaning, name in self.new.items() if values[meaning] is not None}
        if self._length is None or self._length[0] in row or self._names.roles(tuple(row)).duration is not None:
            return new
        return time_cell(self._length, self._duration(utterance)) | new

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
            for time, time_s in ((self._start, utterance["start_s"]), (self._end, utterance["end_s"])):
                cells |= {} if time is None else time_cell(time, time_s)
        if self._length is not None:
            cells |= time_cell(self._length, self._duration(utterance))
        return cells | self.new_cells(cells, utterance)

    def _duration(self, utterance: Mapping[str, Any]) -> float:
        if utterance["whole"]:
            return float(utterance["duration_s"])
        return float(round(utterance["end_s"] - utterance["start_s"], 9))
