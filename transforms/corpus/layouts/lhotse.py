"""Lhotse manifests of recordings and cuts, in JSON lines."""

from __future__ import annotations

import os
from typing import Any

from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.kaldi_commands import CommandError, parse_command
from transforms.corpus.listing import BadRow, Listing
from transforms.corpus.manifests import RowError, seconds, span_of
from transforms.corpus.rows import json_rows
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


def read_lhotse(source: Source, listing: Listing) -> None:
    """Reads the recordings or cuts of a manifest.

    Cuts are spans of recordings with their channel and with the columns `speaker`, `text` and `language` of their first
    supervision, and its alignment of words as `words` if wanted. An entry whose audio is not a file or a part of one is
    rejected.

    Args:
        source: the manifest. Paths are relative to its folder, or to the current directory if that file does not exist.
        listing: listing to which the utterances are added.

    Raises:
        SourceError: the manifest is empty.
    """
    options, folder = listing.options, source.folder
    roots = [options.audio_root] if options.audio_root else [folder, os.getcwd()] if is_local(folder) else [folder]  # noqa: PTH109 -- a str
    finder = Finder(*roots)
    rows, unit = json_rows(source.uri)
    manifest = listing.manifest(source.uri, unit)
    wanted = listing.wanted()
    several = 0
    for row in rows:
        if isinstance(row, BadRow):
            manifest.reject(row)
            continue
        number, entry = row
        try:
            is_recording = "sources" in entry
            ref = _recording(entry, finder) if is_recording else _cut(entry, finder, options.word_times, wanted)
        except (RowError, SourceError) as error:
            manifest.reject(BadRow(number, str(error), repr(entry)), *_identity(entry, finder))
        else:
            listing.columns.update(ref.columns)
            manifest.add(ref, number)
            several += "text" in ref.columns and len(entry["supervisions"]) > 1
    listing.columns.update(_CARRIED)
    manifest.check_not_empty()
    if several:
        cuts = "1 cut has" if several == 1 else f"{several:,} cuts have"
        listing.notes.append(
            f"{source.uri}: {cuts} several supervisions; the text is that of the first one; to score each one by itself, cut "
            "them with Lhotse's trim_to_supervisions"
        )


def _identity(entry: dict[str, Any], finder: Finder) -> tuple[str, File | None]:
    """Returns the id and the recording of an entry that cannot be used, as far as they are known."""
    recording = entry if "sources" in entry else entry.get("recording")
    try:
        file = _file(recording, finder)[0] if isinstance(recording, dict) else None
    except (RowError, SourceError):
        file = None
    name = entry.get("id")
    return as_text(name) if isinstance(name, (str, int)) else "", file


def _recording(row: dict[str, Any], finder: Finder) -> AudioRef:
    file, channel = _file(row, finder)
    return file.ref(_id(row), channel=channel)


def _cut(row: dict[str, Any], finder: Finder, has_words: bool, wanted: frozenset[str] | None) -> AudioRef:
    kind = row.get("type", _CUTS[0])
    if kind not in _CUTS:
        raise RowError(
            f"a {as_text(kind)} is composed of other cuts and has no file; save its audio (with Lhotse's save_audios), and "
            "list the resulting cuts"
        )
    recording = row.get("recording")
    if not isinstance(recording, dict):
        raise RowError(
            "the entry has no recording; use cuts that contain their recordings, or the manifest of recordings"
        )
    file, selected = _file(recording, finder)
    start, length = seconds("start", row.get("start")), seconds("duration", row.get("duration"))
    # Rounded to a nanosecond, which removes the rounding error of the sum.
    span = span_of(start, round(start + length, 9))
    recording_s = recording.get("duration")
    if isinstance(recording_s, (int, float)) and start >= recording_s:
        raise RowError(f"the span is {span}; the recording has {recording_s:g} s")
    columns = supervision_columns(row, has_words, wanted)
    channel = _channel(row, recording) if selected is None else selected
    return file.ref(_id(row), columns, _normalise(span, recording), channel=channel)


def _normalise(span: Span, recording: dict[str, Any]) -> Span:
    """Returns `WHOLE` for a span of the whole recording, so that rounding cannot set its end beyond the last sample."""
    is_whole = not span.start_s and recording.get("duration") == span.end_s
    return WHOLE if is_whole else span


def _id(row: dict[str, Any]) -> str:
    name = as_text(row.get("id"))
    if not name:
        raise RowError("the entry has no id")
    return name


def _file(recording: dict[str, Any], finder: Finder) -> tuple[File, int | None]:
    """Returns the file of a recording, and the channel that a command selects; None for all channels."""
    sources = recording.get("sources")
    if not isinstance(sources, list) or not sources or not all(isinstance(source, dict) for source in sources):
        raise RowError("the recording has no sources")
    for source in sources:
        if source.get("type") not in ("file", "command"):
            raise RowError(
                f"the recording's source is a {as_text(source.get('type'))}, and only files are supported; write it to a "
                "file (with Lhotse's save_audios), and list that file"
            )
    if len(sources) > 1:
        raise RowError(f"the recording has {len(sources)} files; list each as its own recording")
    if recording.get("transforms"):
        raise RowError("the recording has transforms, which are not supported; save its audio, and list that file")
    path = sources[0].get("source")
    if not isinstance(path, str) or not path:
        raise RowError("the recording's source has no path")
    if sources[0]["type"] == "command":
        try:
            return finder.find((decoded := parse_command(path.strip().removesuffix("|"))).path), decoded.channel
        except CommandError as error:
            raise RowError(str(error)) from error
    return finder.find(path), None


def supervision_columns(row: dict[str, Any], has_words: bool, wanted: frozenset[str] | None) -> dict[str, str]:
    """Returns the columns of the first supervision of a cut.

    Args:
        row: the cut.
        has_words: whether to include word times.
        wanted: names of columns to copy; None for all.
    """
    supervisions = row.get("supervisions")
    first = supervisions[0] if isinstance(supervisions, list) and supervisions else None
    if not isinstance(first, dict):
        return {}
    names = [name for name in _CARRIED if wanted is None or name in wanted]
    columns = {name: cell_text(first[name]) for name in names if first.get(name) is not None}
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
        raise RowError(
            f"the cut has the channels {as_text(selected)} of {as_text(available)}; list a cut for each channel"
        )
    if not isinstance(available, list):
        return None
    if selected[0] not in available:
        raise RowError(f"the cut has the channel {as_text(selected[0])}; the recording has {as_text(available)}")
    return available.index(selected[0])


def _has_spans(source: Source) -> bool:
    return "sources" not in source.first_row


LAYOUT = Layout(
    name="Lhotse manifest",
    recognises=lambda source: source.kind in ("json", "jsonl") and is_lhotse(source.first_row),
    read=read_lhotse,
    manifest_format="lhotse",
    has_spans=_has_spans,
)
