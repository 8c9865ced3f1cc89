"""Writes entries of Lhotse's manifests back as cuts, with all their fields."""

from __future__ import annotations

import copy
import gzip
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transforms.corpus.layouts.kaldi_commands import relocated
from transforms.corpus.source_rows import FILE_ROWS, Manifests, json_objects
from transforms.corpus.word_times import Word
from transforms.curation.kept_list import free_name
from transforms.curation.manifest_writers import lhotse_cut
from transforms.curation.piece_texts import Piece, TextState, lies_inside
from transforms.curation.row_writers.matching import SourceRows, merged
from transforms.curation.row_writers.piece_fields import cut_texts, without_untrue
from transforms.curation.row_writers.text_rows import json_text
from transforms.elements import printable
from transforms.schemas import TRIMMED

_DIGITS = 9
# Times of supervisions are rounded by the programs that write them.
_TOLERANCE_S = 0.001


def write_lhotse(rows: SourceRows, path: Path) -> Counter[TextState]:
    """Writes gzipped Lhotse cuts. New columns are fields of `custom`.

    A manifest of recordings becomes one of cuts that contain them, because a recording has no place for a score.
    """
    cuts = _Cuts(rows)
    # Without a name and a time in the header, the same cuts give the same bytes.
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:
        for row, utterances in merged(rows.found(), _entries(rows.manifests)):
            for utterance in utterances:
                entry = copy.deepcopy(row)
                cut = cuts.of_recording(entry, utterance) if "sources" in entry else cuts.of_cut(entry, utterance)
                packed.write(f"{json_text(cut)}\n".encode())
        for utterance in rows.without_row():
            packed.write(f"{json_text(lhotse_cut(utterance, rows.kept.columns))}\n".encode())
    return cuts.pieces


def _entries(manifests: Manifests) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, uri in enumerate(manifests.uris):
        for number, _, entry in json_objects(manifests, uri):
            yield index * FILE_ROWS + number, entry


class _Cuts:
    """Cuts of kept utterances.

    Attributes:
        pieces: number of pieces by how they got their texts.
    """

    def __init__(self, rows: SourceRows) -> None:
        self._rows = rows
        self._score, self._channel, self._trimmed = (
            free_name(name, rows.names) for name in ("score", "channel", TRIMMED)
        )
        self.pieces: Counter[TextState] = Counter()

    def of_recording(self, recording: dict[str, Any], utterance: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the cut of an utterance of a recording."""
        if self._rows.are_files:
            cut = lhotse_cut(dict(utterance), ())
            cut["custom"] = self._new_fields(utterance)
            self._count_piece(utterance)
            return cut
        cut = lhotse_cut({**utterance, "whole": utterance["piece_start_us"] is None}, ())
        cut["recording"] = _located(recording, utterance["path"])
        if utterance["piece_start_us"] is None and isinstance(recording.get("duration"), (int, float)):
            cut["duration"] = recording["duration"]
        cut["channel"] = _channels(recording, utterance)
        cut["type"] = "MultiCut" if isinstance(cut["channel"], list) else "MonoCut"
        cut["custom"] = self._new_fields(utterance)
        self._count_piece(utterance)
        return cut

    def _new_fields(self, utterance: Mapping[str, Any]) -> dict[str, Any]:
        new = {self._score: utterance["score"]}
        return new | ({self._trimmed: utterance["piece_start_us"] is not None} if self._rows.is_trimmed else {})

    def _count_piece(self, utterance: Mapping[str, Any]) -> None:
        if self._rows.is_trimmed and utterance["piece_start_us"] is not None:
            self.pieces[TextState.NO_TEXT] += 1

    def of_cut(self, cut: dict[str, Any], utterance: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a cut of the corpus with the new columns; for a piece, the part of it."""
        custom = dict(cut["custom"]) if isinstance(cut.get("custom"), dict) else {}
        if not self._rows.are_files:
            cut["recording"] = _located(cut["recording"], utterance["path"])
        if utterance["id"] != cut.get("id"):
            cut["id"] = utterance["id"]
        is_piece = utterance["piece_start_us"] is not None
        if is_piece:
            custom = without_untrue(custom)
            self._cut_out(cut, utterance)
        if self._rows.are_files:
            self._in_file(cut, utterance)
        elif self._rows.splits_channels:
            channel = _channels(cut["recording"], utterance)
            cut |= {"channel": channel, "type": "MonoCut"}
            if isinstance(cut.get("supervisions"), list):
                cut["supervisions"] = _of_channel(cut["supervisions"], channel)
        new = self._new_fields(utterance)
        if utterance["channel"] is not None and not self._rows.splits_channels:
            new[self._channel] = utterance["channel"]
        cut["custom"] = custom | new
        return cut

    def _in_file(self, cut: dict[str, Any], utterance: Mapping[str, Any]) -> None:
        """Makes a cut one of all of its exported file. Features, which are those of the recording, are left out."""
        supervisions = cut.get("supervisions") or []
        if self._rows.splits_channels:
            supervisions = _of_channel(supervisions, _channels(cut["recording"], utterance))
        of_file = lhotse_cut(dict(utterance), ())
        cut |= {name: of_file[name] for name in ("start", "duration", "channel", "recording", "type")}
        cut["supervisions"] = [
            {**supervision, "recording_id": cut["recording"]["id"], "channel": cut["channel"]}
            for supervision in supervisions
        ]
        cut.pop("features", None)

    def _cut_out(self, cut: dict[str, Any], utterance: Mapping[str, Any]) -> None:
        """Makes a cut one of its pieces."""
        cut["start"] = utterance["start_s"]
        cut["duration"] = round(utterance["end_s"] - utterance["start_s"], _DIGITS)
        states = []
        supervisions = []
        for supervision in cut.get("supervisions") or []:
            part, state = _part_of(supervision, utterance)
            if part is not None:
                supervisions.append(part)
                states.append(state)
        cut["supervisions"] = supervisions
        self.pieces[next((state for state in states if state is not TextState.NO_TEXT), TextState.NO_TEXT)] += 1


def _part_of(supervision: dict[str, Any], utterance: Mapping[str, Any]) -> tuple[dict[str, Any] | None, TextState]:
    """Returns the part of a supervision that lies in a piece, with times from the start of the piece; None if there is none."""
    piece = Piece(utterance["piece_start_us"], utterance["piece_end_us"], utterance["piece_is_last"])
    first_s, last_s = piece.start_us / 1e6, piece.end_us / 1e6
    start_s = float(supervision.get("start") or 0.0)
    end_s = start_s + float(supervision.get("duration") or 0.0)
    if end_s <= first_s or start_s >= last_s:
        return None, TextState.NO_TEXT
    part = dict(supervision)
    part["start"] = round(max(start_s, first_s) - first_s, _DIGITS)
    part["duration"] = round(min(end_s, last_s) - max(start_s, first_s), _DIGITS)
    alignment = supervision.get("alignment")
    if isinstance(alignment, dict):
        inside = {kind: _items_inside(items, piece) for kind, items in alignment.items()}
        part["alignment"] = {kind: items for kind, items in inside.items() if items}
        if not part["alignment"]:
            del part["alignment"]
    if start_s >= first_s - _TOLERANCE_S and end_s <= last_s + _TOLERANCE_S:
        return part, TextState.WORDS if supervision.get("text") else TextState.NO_TEXT
    words = {"word": alignment["word"]} if isinstance(alignment, dict) and alignment.get("word") else None
    cut, state = cut_texts({"text": supervision.get("text"), "words": words}, utterance)
    if "text" in part:
        part["text"] = cut["text"]
        if part["text"] is None:
            del part["text"]
    if isinstance(part.get("custom"), dict):
        part["custom"] = without_untrue(part["custom"])
    return part, state


def _items_inside(items: Any, piece: Piece) -> list[Any]:
    """Returns the items of an alignment that lie in a piece as a whole, with times from its start."""
    inside = []
    for item in items if isinstance(items, list) else []:
        if isinstance(item, list) and len(item) >= 3 and all(isinstance(time, (int, float)) for time in item[1:3]):
            symbol, start_s, length_s, *further = item
            if lies_inside(Word(str(symbol), start_s, start_s + length_s), piece):
                inside.append([symbol, round(max(start_s - piece.start_us / 1e6, 0.0), _DIGITS), length_s, *further])
    return inside


def _of_channel(supervisions: list[Any], channel: Any) -> list[Any]:
    """Returns the supervisions of a channel."""
    found = []
    for supervision in supervisions:
        channels = supervision.get("channel", channel)
        if channel in (channels if isinstance(channels, list) else [channels]):
            found.append({**supervision, "channel": channel})
    return found


def _channels(recording: Mapping[str, Any], utterance: Mapping[str, Any]) -> Any:
    """Returns the ids of the channels of a cut: one for a scored channel, or all."""
    available = recording["sources"][0].get("channels") or recording.get("channel_ids")
    if not isinstance(available, list) or not available:
        available = list(range(utterance["channels"]))
    selected = utterance["channel"]
    if selected is not None and utterance["channels"] > 1 and selected < len(available):
        return available[selected]
    return available if len(available) > 1 else available[0]


def _located(recording: dict[str, Any], path: str) -> dict[str, Any]:
    """Returns a recording whose file has an absolute path; the same recording if it has one already."""
    (source,) = recording["sources"]
    located = relocated(source["source"], path) if source.get("type") == "command" else path
    if printable(source["source"]) == located:
        return recording
    return {**recording, "sources": [{**source, "source": located}]}
