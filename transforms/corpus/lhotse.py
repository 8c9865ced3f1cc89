"""Lhotse manifests of recordings and cuts, in JSON lines."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Any

from apache_beam.io.filesystems import FileSystems

from transforms.corpus.manifests import NumberedRow, seconds, span_of
from transforms.corpus.word_times import WORDS
from transforms.elements import WHOLE, AudioRef, Span
from transforms.errors import SourceError
from transforms.storage.files import File, Finder, is_local
from transforms.storage.text_files import as_text, cell_text

_CUTS = ("MonoCut", "MultiCut")
_COMPOSED_CUTS = ("MixedCut", "PaddingCut")
# Fields of the first supervision of a cut that become columns.
_CARRIED = ("speaker", "text", "language")


def is_lhotse(row: dict[str, Any]) -> bool:
    """Returns whether an object is a recording, a cut or a supervision of Lhotse. A supervision names no file."""
    return (
        row.get("type") in (*_CUTS, *_COMPOSED_CUTS)
        or {"sources", "sampling_rate"} <= row.keys()
        or {"recording", "start", "duration"} <= row.keys()
        or {"recording_id", "start", "duration"} <= row.keys()
    )


def read_lhotse(uri: str, rows: Iterable[NumberedRow], carry: Collection[str] = ()) -> list[AudioRef]:
    """Reads the recordings or cuts of a manifest, in its order.

    Args:
        uri: URI of the manifest. Paths are relative to its folder, or to the current directory if that file does not exist.
        rows: objects with the numbers of their lines.
        carry: columns that are carried. Word times are large, so `words` is read only if it is one of them.

    Returns:
        Recordings, or cuts as spans of recordings with their channel and with the columns `speaker`, `text` and `language` of
        their first supervision, and its alignment of words as `words`.

    Raises:
        SourceError: an entry is invalid, or its audio is not a file or a part of one.
    """
    folder = FileSystems.split(uri)[0]
    finder = Finder(folder, os.getcwd()) if is_local(folder) else Finder(folder)  # noqa: PTH109 -- a str
    refs = []
    for number, row in rows:
        try:
            refs.append(entry_ref(row, finder, WORDS in carry))
        except SourceError as error:
            raise SourceError(f"{uri}, line {number}: {error}") from error
    return refs


def entry_ref(row: dict[str, Any], finder: Finder, has_words: bool = False) -> AudioRef:
    """Returns the utterance of an entry, with its word times if `has_words`; `read_lhotse` has the details."""
    return _recording(row, finder) if "sources" in row else _cut(row, finder, has_words)


def _recording(row: dict[str, Any], finder: Finder) -> AudioRef:
    return _file(row, finder).ref(_id(row))


def _cut(row: dict[str, Any], finder: Finder, has_words: bool) -> AudioRef:
    kind = row.get("type", _CUTS[0])
    if kind not in _CUTS:
        raise SourceError(
            f"a {as_text(kind)} is composed of other cuts and has no file; save its audio (with Lhotse's save_audios), and "
            "list the resulting cuts"
        )
    recording = row.get("recording")
    if not isinstance(recording, dict):
        raise SourceError(
            "the entry has no recording; use cuts that contain their recordings, or the manifest of recordings"
        )
    file = _file(recording, finder)
    start, length = seconds("start", row.get("start")), seconds("duration", row.get("duration"))
    # Rounded to a nanosecond, which removes the rounding error of the sum.
    span = span_of(start, round(start + length, 9))
    return file.ref(
        _id(row), _supervision(row, has_words), _normalise(span, recording), channel=_channel(row, recording)
    )


def _normalise(span: Span, recording: dict[str, Any]) -> Span:
    """Returns `WHOLE` for a span of the whole recording, so that rounding cannot set its end beyond the last sample."""
    is_whole = not span.start_s and recording.get("duration") == span.end_s
    return WHOLE if is_whole else span


def _id(row: dict[str, Any]) -> str:
    name = as_text(row.get("id"))
    if not name:
        raise SourceError("the entry has no id")
    return name


def _file(recording: dict[str, Any], finder: Finder) -> File:
    sources = recording.get("sources")
    if not isinstance(sources, list) or not sources or not all(isinstance(source, dict) for source in sources):
        raise SourceError("the recording has no sources")
    for source in sources:
        if source.get("type") != "file":
            raise SourceError(
                f"the recording's source is a {as_text(source.get('type'))}, and only files are supported; write it to a "
                "file (with Lhotse's save_audios), and list that file"
            )
    if len(sources) > 1:
        raise SourceError(f"the recording has {len(sources)} files; list each as its own recording")
    if recording.get("transforms"):
        raise SourceError("the recording has transforms, which are not supported; save its audio, and list that file")
    path = sources[0].get("source")
    if not isinstance(path, str) or not path:
        raise SourceError("the recording's source has no path")
    return finder.find(path)


def _supervision(row: dict[str, Any], has_words: bool) -> dict[str, str]:
    supervisions = row.get("supervisions")
    first = supervisions[0] if isinstance(supervisions, list) and supervisions else None
    if not isinstance(first, dict):
        return {}
    columns = {name: cell_text(first[name]) for name in _CARRIED if first.get(name) is not None}
    alignment = first.get("alignment")
    if has_words and isinstance(alignment, dict) and alignment.get("word") is not None:
        # The times of an alignment are relative to the cut, as those of its supervision.
        columns[WORDS] = as_text({"word": alignment["word"]})
    return columns


def _channel(row: dict[str, Any], recording: dict[str, Any]) -> int | None:
    """Returns the position in the file of the single channel of a cut; None for a cut of all channels."""
    selected = row.get("channel")
    available = recording["sources"][0].get("channels") or recording.get("channel_ids")
    selected = selected if isinstance(selected, list) or selected is None else [selected]
    if selected is None or selected == available:
        return None
    if len(selected) != 1:
        raise SourceError(
            f"the cut has the channels {as_text(selected)} of {as_text(available)}; list a cut for each channel"
        )
    if not isinstance(available, list):
        return None
    if selected[0] not in available:
        raise SourceError(f"the cut has the channel {as_text(selected[0])}; the recording has {as_text(available)}")
    return available.index(selected[0])
