"""Kaldi data directories: `wav.scp`, and optionally `segments`, `utt2spk`, `text` and `ctm`."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterator

from apache_beam.io.filesystems import FileSystems

from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.kaldi_commands import CommandError, parse_command
from transforms.corpus.listing import BadRow, Listing, ManifestListing
from transforms.corpus.manifests import RowError, seconds, span_of
from transforms.corpus.rows import stripped_lines
from transforms.corpus.word_times import WORDS, Word, words_json
from transforms.elements import AudioRef, Span
from transforms.errors import SourceError
from transforms.storage.files import File, Finder, is_local

WAV_SCP = "wav.scp"
_SEGMENTS = "segments"
_CTM, _CTM_COMMENT = "ctm", ";;"
# As in Kaldi, this value stands for the end of the recording.
_TO_THE_END = -1.0
_ARCHIVE_POSITION = re.compile(r":\d+$")
_BLANKS = re.compile(r"[ \t]+")


@dataclasses.dataclass(frozen=True, slots=True)
class _Recording:
    """A line of `wav.scp`.

    Attributes:
        number: number of the line.
        file: the file; None if the line has a fault.
        channel: channel that its command selects, from 0; None for all channels.
        fault: reason why the line cannot be used; empty if it can.
    """

    number: int
    file: File | None
    channel: int | None = None
    fault: str = ""


def is_data_directory(source: Source) -> bool:
    """Returns whether a folder holds a `wav.scp`, or a file is one."""
    return source.file(WAV_SCP).exists if source.is_folder else source.name == WAV_SCP


def read_data_directory(source: Source, listing: Listing) -> None:
    """Reads the segments of a data directory, or its recordings if it has no segments.

    Paths in `wav.scp` are relative to the directory, or to the current directory if that file does not exist. Commands that
    only decode a file are read as that file. Utterances have the columns `speaker` from `utt2spk`, `text` from `text` and, if
    wanted, `words` from `ctm`, if those files exist, and the channel of their segment.

    Args:
        source: the directory, or its `wav.scp`.
        listing: listing to which the utterances are added.

    Raises:
        SourceError: `wav.scp` is empty, or no line of `ctm` names an utterance.
    """
    folder = source.folder
    tables = {column: _table(folder, name, listing) for column, name in (("speaker", "utt2spk"), ("text", "text"))}
    if listing.options.word_times:
        tables[WORDS] = _word_times(folder, listing)
    present = {column: table for column, table in tables.items() if table is not None}
    listing.columns.update(present)
    wanted = listing.wanted()
    copied = {
        column: table for column, table in present.items() if wanted is None or column in wanted or column == WORDS
    }

    def columns_of(utterance: str) -> dict[str, str]:
        return {column: table.get(utterance, "") for column, table in copied.items()}

    manifest = listing.manifest(FileSystems.join(folder, WAV_SCP))
    recordings = _recordings(manifest, Finder(*_roots(folder, listing.options.audio_root)))
    if source.file(_SEGMENTS).exists:
        _add_segments(listing.manifest(FileSystems.join(folder, _SEGMENTS)), manifest, recordings, columns_of)
    else:
        for key, recording in recordings.items():
            if recording.file is None:
                manifest.reject(BadRow(recording.number, recording.fault, key), key)
            else:
                columns = columns_of(key)
                manifest.add(recording.file.ref(key, columns, channel=recording.channel), recording.number)
    if copied.get(WORDS) and not any(ref.columns.get(WORDS) for ref in listing.refs):
        raise SourceError(
            f"{FileSystems.join(folder, _CTM)}: names no utterance of this directory (the first id is "
            f"{next(iter(copied[WORDS]))!r}); must have ids of utterances, with times from their starts"
        )


def _roots(folder: str, audio_root: str | None) -> list[str]:
    if audio_root:
        return [audio_root]
    return [folder, os.getcwd()] if is_local(folder) else [folder]  # noqa: PTH109 -- a str


def _entries(uri: str) -> Iterator[tuple[int, str, str] | BadRow]:
    """Yields the number, the key and the rest of each line of a Kaldi table."""
    for line in stripped_lines(uri):
        if isinstance(line, BadRow):
            yield line
            continue
        key, *rest = _BLANKS.split(line[1], maxsplit=1)
        yield line[0], key, rest[0] if rest else ""


def _table(folder: str, name: str, listing: Listing) -> dict[str, str] | None:
    """Returns the lines of a table by their keys; None if there is no such file.

    Raises:
        SourceError: a line cannot be read, and the listing is strict. Otherwise it is left out.
    """
    uri = FileSystems.join(folder, name)
    if not FileSystems.exists(uri):
        return None
    table = {}
    faults = []
    for entry in _entries(uri):
        if not isinstance(entry, BadRow):
            table[entry[1]] = entry[2]
            continue
        faults.append(f"{uri}, line {entry.number}: {entry.fault}")
        if listing.options.is_strict:
            raise SourceError(faults[0])
    if faults:
        lines = "1 such line is" if len(faults) == 1 else f"{len(faults)} such lines are"
        listing.notes.append(f"{faults[0]}; {lines} left out, and the utterances are scored without them")
    return table


def _word_times(folder: str, listing: Listing) -> dict[str, str] | None:
    """Returns the word times of `ctm` by utterance; None if there is no such file.

    Raises:
        SourceError: a line cannot be read, and the listing is strict. Otherwise its utterance gets no word times.
    """
    uri = FileSystems.join(folder, _CTM)
    if not FileSystems.exists(uri):
        return None
    words: dict[str, list[Word]] = {}
    faults: dict[str, str] = {}
    for entry in _entries(uri):
        key = entry.content if isinstance(entry, BadRow) else entry[1]
        if key.startswith(_CTM_COMMENT):
            continue
        try:
            if isinstance(entry, BadRow):
                raise RowError(entry.fault)
            words.setdefault(key, []).append(_word(entry[2]))
        except RowError as error:
            fault = f"{uri}, line {entry[0]}: {error}"
            if listing.options.is_strict:
                raise SourceError(fault) from error
            faults.setdefault(_BLANKS.split(key, maxsplit=1)[0], fault)
    if faults:
        listing.notes.append(
            f"{next(iter(faults.values()))}; {len(faults)} utterance{'' if len(faults) == 1 else 's'} with such lines "
            "have no word times"
        )
    return {key: words_json(entries) for key, entries in words.items() if key not in faults}


def _word(text: str) -> Word:
    """Parses a line of `ctm` after the utterance.

    Raises:
        RowError: it cannot be read.
    """
    try:
        _, start, length, word, *further = _BLANKS.split(text)
    except ValueError as error:
        raise RowError(
            "must be utterance, channel, start and duration in seconds from the start of the utterance, word, and optionally "
            "a score"
        ) from error
    start_s, length_s = seconds("the start", start), seconds("the duration", length)
    return Word(word, start_s, start_s + length_s, _score(*further[:1]))


def _score(text: str = "") -> float | None:
    """Parses the score of a word; None for `NA` and the like."""
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) else None


def _recordings(manifest: ManifestListing, finder: Finder) -> dict[str, _Recording]:
    """Returns the lines of `wav.scp` by their keys. Lines that have no key, or that of another line, are rejected."""
    recordings: dict[str, _Recording] = {}
    for entry in _entries(manifest.uri):
        if isinstance(entry, BadRow):
            manifest.reject(entry)
            continue
        number, key, path = entry
        if key in recordings:
            fault = f"the recording {key!r} occurs twice; ids must be unique"
            manifest.reject(BadRow(number, fault, f"{key} {path}"), key)
            continue
        try:
            recordings[key] = _recording(number, path, finder)
        except (RowError, CommandError, SourceError) as error:
            recordings[key] = _Recording(number, None, fault=str(error))
            if manifest.listing.options.is_strict:
                manifest.reject(BadRow(number, str(error), path))
        manifest.is_empty = False
    manifest.check_not_empty()
    return recordings


def _recording(number: int, path: str, finder: Finder) -> _Recording:
    if not path:
        raise RowError("the line has an id but no path")
    if path.startswith("|"):
        raise CommandError(f"the recording is the output of a command ({path[:120]}), and commands are not run")
    if path.endswith("|"):
        decoded = parse_command(path[:-1])
        return _Recording(number, finder.find(decoded.path), decoded.channel)
    if _ARCHIVE_POSITION.search(path):
        raise RowError(
            f"the recording is in a Kaldi archive ({path[:120]}), which is not supported; write it to a file "
            "(with Kaldi's wav-copy), and list that file"
        )
    return _Recording(number, finder.find(path))


def _add_segments(
    segments: ManifestListing,
    wav_scp: ManifestListing,
    recordings: dict[str, _Recording],
    columns_of: Callable[[str], dict[str, str]],
) -> None:
    """Adds the utterances of `segments`. A faulty line of `wav.scp` rejects its segments, or itself if it has none."""
    used = set()
    for entry in _entries(segments.uri):
        if isinstance(entry, BadRow):
            segments.reject(entry)
            continue
        number, key, rest = entry
        file = None
        try:
            name, span, channel = _segment(rest)
            used.add(name)
            recording = recordings.get(name)
            if recording is None:
                raise RowError(f"the recording {name!r} is not in {WAV_SCP}")
            file = recording.file
            if file is None:
                raise RowError(
                    f"the recording {name!r} cannot be used ({WAV_SCP}, line {recording.number}: {recording.fault})"
                )
            segments.add(_segment_ref(key, file, span, channel, recording.channel, columns_of(key)), number)
        except RowError as error:
            segments.reject(BadRow(number, str(error), rest), key, file)
    segments.check_not_empty()
    for name, recording in recordings.items():
        if recording.file is None and name not in used:
            wav_scp.reject(BadRow(recording.number, recording.fault, name), name)


def _segment_ref(
    key: str, file: File, span: Span, channel: int | None, selected: int | None, columns: dict[str, str]
) -> AudioRef:
    """Returns the utterance of a segment of a recording, of which a command may have selected one channel."""
    if selected is not None:
        if channel:
            raise RowError(
                f"the segment has the channel {channel}; the command of its recording selects only one channel"
            )
        channel = selected
    return file.ref(key, columns, span, channel=channel)


def _segment(text: str) -> tuple[str, Span, int | None]:
    """Parses the recording, the span and the channel of a segment; the channel is None if there is none.

    Raises:
        RowError: the line cannot be read, or the span is impossible.
    """
    recording, *times = _BLANKS.split(text)
    if len(times) not in (2, 3):
        raise RowError(_SEGMENT_FORM)
    return recording, span_of(seconds("the start", times[0]), _end(times[1])), _channel(*times[2:])


_SEGMENT_FORM = "must be id, recording, start, end and optionally a channel number from 0"


def _channel(text: str = "-1") -> int | None:
    """Parses the channel of a segment, from 0. As in Kaldi, -1 means none."""
    if text == "-1":
        return None
    if not text.isdecimal():
        raise RowError(_SEGMENT_FORM)
    return int(text)


def _end(text: str) -> float | None:
    try:
        if float(text) == _TO_THE_END:
            return None
    except ValueError:
        pass  # `seconds` reports the error
    return seconds("the end", text)


LAYOUT = Layout(
    name="Kaldi data directory",
    recognises=is_data_directory,
    read=read_data_directory,
    manifest_format="kaldi",
    has_spans=lambda source: source.file(_SEGMENTS).exists,
)
