"""Kaldi data directories: `wav.scp`, and `segments`, `utt2spk` and `text` where they are there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from apache_beam.io.filesystems import FileSystems

from transforms.corpus.manifests import seconds, span_of
from transforms.elements import AudioRef, Span
from transforms.errors import SourceError
from transforms.storage.files import File, Finder, is_local
from transforms.storage.text_files import lines

WAV_SCP = "wav.scp"
# Kaldi's own mark for a segment that lasts to the end of its recording.
_TO_THE_END = -1.0
_INTO_AN_ARCHIVE = re.compile(r":\d+$")
_BLANKS = re.compile(r"[ \t]+")


def is_data_directory(folder: str) -> bool:
    """Whether a directory is one of Kaldi's: it holds a `wav.scp`."""
    return FileSystems.exists(FileSystems.join(folder, WAV_SCP))


def read_data_directory(folder: str) -> list[AudioRef]:
    """The utterances of a data directory: its segments, or, where it has none, its recordings.

    Args:
        folder: paths in its `wav.scp` are relative to it, or, where no such file is in it, to the current directory.

    Returns:
        In the order of the files, with the columns `speaker` and `text` where there are `utt2spk` and `text`, and `channel`
        where a segment names one.

    Raises:
        SourceError: a line cannot be understood, or names no file but a command or a place in an archive.
    """
    recordings = _recordings(FileSystems.join(folder, WAV_SCP), Finder(*_roots(folder)))
    about = {column: _table(folder, name) for column, name in (("speaker", "utt2spk"), ("text", "text"))}
    known = {column: table for column, table in about.items() if table is not None}
    refs = []
    for utterance, file, span, channel in _segments(folder, recordings):
        columns = {column: table.get(utterance, "") for column, table in known.items()}
        refs.append(file.ref(utterance, columns, span, channel=channel))
    return refs


def _roots(folder: str) -> list[str]:
    return [folder, os.getcwd()] if is_local(folder) else [folder]  # noqa: PTH109 -- a str


def _entries(uri: str) -> Iterator[tuple[int, str, str]]:
    """The lines of one of Kaldi's tables: number, key, and the rest of the line."""
    for number, line in lines(uri):
        key, *rest = _BLANKS.split(line, maxsplit=1)
        yield number, key, rest[0] if rest else ""


def _table(folder: str, name: str) -> dict[str, str] | None:
    uri = FileSystems.join(folder, name)
    return {key: rest for _, key, rest in _entries(uri)} if FileSystems.exists(uri) else None


def _recordings(uri: str, finder: Finder) -> dict[str, File]:
    found: dict[str, File] = {}
    for number, key, path in _entries(uri):
        try:
            _check_path(path)
            if key in found:
                raise SourceError(f"the recording {key!r} stands twice; ids must be unique")
            found[key] = finder.find(path)
        except SourceError as error:
            raise SourceError(f"{uri}, line {number}: {error}") from error
    if not found:
        raise SourceError(f"{uri}: the manifest lists nothing")
    return found


def _check_path(path: str) -> None:
    if not path:
        raise SourceError("there is an id, but no path after it")
    if path.endswith("|") or path.startswith("|"):
        raise SourceError(
            f"the recording comes out of a command ({path[:120]}), and commands are not run; write what it puts out "
            "to a file (Kaldi's wav-copy does), and name that"
        )
    if _INTO_AN_ARCHIVE.search(path):
        raise SourceError(
            f"the recording lies inside of an archive ({path[:120]}), which is not read; write it to a file of its own "
            "(Kaldi's wav-copy does), and name that"
        )


def _segments(folder: str, recordings: dict[str, File]) -> Iterator[tuple[str, File, Span, int | None]]:
    """Each utterance: id, recording, span, and the channel if one is named."""
    uri = FileSystems.join(folder, "segments")
    if not FileSystems.exists(uri):
        for key, file in recordings.items():
            yield key, file, Span(), None
        return
    for number, key, rest in _entries(uri):
        try:
            recording, start, end, *channel = _BLANKS.split(rest)
            span = span_of(seconds("the start", start), _end(end))
            heard = _channel(*channel)
            if recording not in recordings:
                raise SourceError(f"the recording {recording!r} is not in {WAV_SCP}")
        except SourceError as error:
            raise SourceError(f"{uri}, line {number}: {error}") from error
        except (TypeError, ValueError) as error:
            raise SourceError(
                f"{uri}, line {number}: id, recording, start and end are needed, and perhaps a channel from 0"
            ) from error
        yield key, recordings[recording], span, heard


def _channel(text: str = "-1") -> int | None:
    """The channel that a segment names, from 0; -1 is none, as Kaldi has it."""
    if text == "-1":
        return None
    if not text.isdecimal():
        raise ValueError
    return int(text)


def _end(text: str) -> float | None:
    try:
        if float(text) == _TO_THE_END:
            return None
    except ValueError:
        pass  # which the check of all numbers reports
    return seconds("the end", text)
