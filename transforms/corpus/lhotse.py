"""Lhotse's manifests of recordings and cuts, a JSON object a line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from apache_beam.io.filesystems import FileSystems

from transforms.corpus.manifests import NumberedRow, seconds, span_of
from transforms.elements import WHOLE, AudioRef, Span
from transforms.errors import SourceError
from transforms.storage.files import File, Finder, is_local
from transforms.storage.text_files import as_text

_CUTS = ("MonoCut", "MultiCut")
_MADE_CUTS = ("MixedCut", "PaddingCut")
# What is carried of the first supervision of a cut.
_CARRIED = ("speaker", "text", "language")


def is_lhotse(row: dict[str, Any]) -> bool:
    """Whether an object is one of Lhotse's: a recording, a cut, or a supervision, which by itself names no file."""
    return (
        row.get("type") in (*_CUTS, *_MADE_CUTS)
        or {"sources", "sampling_rate"} <= row.keys()
        or {"recording", "start", "duration"} <= row.keys()
        or {"recording_id", "start", "duration"} <= row.keys()
    )


def read_lhotse(uri: str, rows: Iterable[NumberedRow]) -> list[AudioRef]:
    """The recordings or cuts of a manifest, in its order.

    Args:
        uri: of the manifest. Paths are relative to its folder, or, where no such file is in it, to the current directory.
        rows: its objects with the numbers of their lines.

    Returns:
        Cuts are spans of their recordings, with the columns `speaker`, `text` and `language` of their first supervision;
        a cut of one channel of several is heard in that channel.

    Raises:
        SourceError: something is listed that is no file, or no part of one, or cannot be understood.
    """
    folder = FileSystems.split(uri)[0]
    finder = Finder(folder, os.getcwd()) if is_local(folder) else Finder(folder)  # noqa: PTH109 -- a str
    refs = []
    for number, row in rows:
        try:
            refs.append(_recording(row, finder) if "sources" in row else _cut(row, finder))
        except SourceError as error:
            raise SourceError(f"{uri}, line {number}: {error}") from error
    return refs


def _recording(row: dict[str, Any], finder: Finder) -> AudioRef:
    return _file(row, finder).ref(_id(row))


def _cut(row: dict[str, Any], finder: Finder) -> AudioRef:
    kind = row.get("type", _CUTS[0])
    if kind not in _CUTS:
        raise SourceError(
            f"a {as_text(kind)} is put together from others, and lies in no file; save its audio (Lhotse's save_audios), and "
            "list the cuts that come of it"
        )
    recording = row.get("recording")
    if not isinstance(recording, dict):
        raise SourceError("no recording is named; list cuts with recordings, or the manifest of the recordings itself")
    file = _file(recording, finder)
    start, length = seconds("start", row.get("start")), seconds("duration", row.get("duration"))
    span = span_of(start, round(start + length, 9))  # to a nanosecond, as adding leaves more digits than anyone wrote
    return file.ref(_id(row), _supervision(row), _whole(span, recording), channel=_channel(row, recording))


def _whole(span: Span, recording: dict[str, Any]) -> Span:
    """All of the recording if the span is that: rounding must not set its end beyond the last sample."""
    ends = not span.start_s and recording.get("duration") == span.end_s
    return WHOLE if ends else span


def _id(row: dict[str, Any]) -> str:
    name = as_text(row.get("id"))
    if not name:
        raise SourceError("there is no id")
    return name


def _file(recording: dict[str, Any], finder: Finder) -> File:
    sources = recording.get("sources")
    if not isinstance(sources, list) or not sources or not all(isinstance(source, dict) for source in sources):
        raise SourceError("the recording has no sources")
    for source in sources:
        if source.get("type") != "file":
            raise SourceError(
                f"the recording's source is a {as_text(source.get('type'))}, and only files are read; write it to a file "
                "(Lhotse's save_audios), and list that"
            )
    if len(sources) > 1:
        raise SourceError(f"the recording lies in {len(sources)} files; list each as a recording of its own")
    if recording.get("transforms"):
        raise SourceError("the recording is to be transformed before it is heard; save its audio, and list that")
    path = sources[0].get("source")
    if not isinstance(path, str) or not path:
        raise SourceError("the recording's source has no path")
    return finder.find(path)


def _supervision(row: dict[str, Any]) -> dict[str, str]:
    supervisions = row.get("supervisions")
    first = supervisions[0] if isinstance(supervisions, list) and supervisions else None
    if not isinstance(first, dict):
        return {}
    return {name: as_text(first[name]) for name in _CARRIED if first.get(name) is not None}


def _channel(row: dict[str, Any], recording: dict[str, Any]) -> int | None:
    """The place in the file of the one channel that a cut hears; None where it hears all there are."""
    heard = row.get("channel")
    there = recording["sources"][0].get("channels") or recording.get("channel_ids")
    heard = heard if isinstance(heard, list) or heard is None else [heard]
    if heard is None or heard == there:
        return None
    if len(heard) != 1:
        raise SourceError(
            f"the cut hears the channels {as_text(heard)} together, of {as_text(there)}; list a cut for each"
        )
    if not isinstance(there, list):
        return None
    if heard[0] not in there:
        raise SourceError(f"the cut hears the channel {as_text(heard[0])}, and the recording has {as_text(there)}")
    return there.index(heard[0])
