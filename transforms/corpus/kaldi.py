"""Kaldi data directories: `wav.scp`, and optionally `segments`, `utt2spk`, `text` and `ctm`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterator

from apache_beam.io.filesystems import FileSystems

from transforms.corpus.manifests import seconds, span_of
from transforms.corpus.word_times import WORDS, Word, words_json
from transforms.elements import AudioRef, Span
from transforms.errors import SourceError
from transforms.storage.files import File, Finder, is_local
from transforms.storage.text_files import lines

WAV_SCP = "wav.scp"
_CTM, _CTM_COMMENT = "ctm", ";;"
# As in Kaldi, this value stands for the end of the recording.
_TO_THE_END = -1.0
_ARCHIVE_POSITION = re.compile(r":\d+$")
_BLANKS = re.compile(r"[ \t]+")


def is_data_directory(folder: str) -> bool:
    """Returns whether a directory holds a `wav.scp`."""
    return FileSystems.exists(FileSystems.join(folder, WAV_SCP))


def read_data_directory(folder: str, carry: Collection[str] = ()) -> list[AudioRef]:
    """Reads the segments of a data directory, or its recordings if it has no segments.

    Args:
        folder: the directory. Paths in `wav.scp` are relative to it, or to the current directory if that file does not exist.
        carry: columns that are carried. Word times are large, so `ctm` is read only if `words` is one of them.

    Returns:
        Utterances in the order of the files, with the columns `speaker` from `utt2spk`, `text` from `text` and `words` from
        `ctm`, if those files exist, and with the channel of their segment.

    Raises:
        SourceError: a line is invalid, or names a command or a position in a Kaldi archive instead of a file.
    """
    recordings = _recordings(FileSystems.join(folder, WAV_SCP), Finder(*_roots(folder)))
    tables = {column: _table(folder, name) for column, name in (("speaker", "utt2spk"), ("text", "text"))}
    if WORDS in carry:
        tables[WORDS] = word_times(folder)
    present = {column: table for column, table in tables.items() if table is not None}
    refs = []
    for utterance, file, span, channel in _segments(folder, recordings):
        columns = {column: table.get(utterance, "") for column, table in present.items()}
        refs.append(file.ref(utterance, columns, span, channel=channel))
    if present.get(WORDS) and not any(ref.columns[WORDS] for ref in refs):
        raise SourceError(
            f"{FileSystems.join(folder, _CTM)}: names no utterance of this directory (the first id is "
            f"{next(iter(present[WORDS]))!r}); must have ids of utterances, with times from their starts"
        )
    return refs


def data_rows(folder: str, finder: Finder) -> Iterator[AudioRef]:
    """Yields the utterances of a data directory without columns, in the order of the files.

    Raises:
        SourceError: a line is invalid.
    """
    recordings = _recordings(FileSystems.join(folder, WAV_SCP), finder)
    for utterance, file, span, channel in _segments(folder, recordings):
        yield file.ref(utterance, {}, span, channel=channel)


def _roots(folder: str) -> list[str]:
    return [folder, os.getcwd()] if is_local(folder) else [folder]  # noqa: PTH109 -- a str


def _entries(uri: str) -> Iterator[tuple[int, str, str]]:
    """Yields the number, the key and the rest of each line of a Kaldi table."""
    for number, line in lines(uri):
        key, *rest = _BLANKS.split(line, maxsplit=1)
        yield number, key, rest[0] if rest else ""


def _table(folder: str, name: str) -> dict[str, str] | None:
    uri = FileSystems.join(folder, name)
    return {key: rest for _, key, rest in _entries(uri)} if FileSystems.exists(uri) else None


def word_times(folder: str) -> dict[str, str] | None:
    """Returns the word times of `ctm` by utterance; None if there is no such file."""
    uri = FileSystems.join(folder, _CTM)
    if not FileSystems.exists(uri):
        return None
    words: dict[str, list[Word]] = {}
    for number, key, rest in _entries(uri):
        try:
            if key.startswith(_CTM_COMMENT):
                continue
            _, start, length, word, *further = _BLANKS.split(rest)
            start_s, length_s = seconds("the start", start), seconds("the duration", length)
            words.setdefault(key, []).append(Word(word, start_s, start_s + length_s, _score(*further[:1])))
        except SourceError as error:
            raise SourceError(f"{uri}, line {number}: {error}") from error
        except ValueError as error:
            raise SourceError(
                f"{uri}, line {number}: must be utterance, channel, start and duration in seconds from the start of the "
                "utterance, word, and optionally a score"
            ) from error
    return {key: words_json(entries) for key, entries in words.items()}


def _score(text: str = "") -> float | None:
    """Parses the score of a word; None for `NA` and the like."""
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) else None


def _recordings(uri: str, finder: Finder) -> dict[str, File]:
    files: dict[str, File] = {}
    for number, key, path in _entries(uri):
        try:
            _check_path(path)
            if key in files:
                raise SourceError(f"the recording {key!r} occurs twice; ids must be unique")
            files[key] = finder.find(path)
        except SourceError as error:
            raise SourceError(f"{uri}, line {number}: {error}") from error
    if not files:
        raise SourceError(f"{uri}: the manifest is empty")
    return files


def _check_path(path: str) -> None:
    if not path:
        raise SourceError("the line has an id but no path")
    if path.endswith("|") or path.startswith("|"):
        raise SourceError(
            f"the recording is the output of a command ({path[:120]}), and commands are not run; write the output to a file "
            "(with Kaldi's wav-copy), and list that file"
        )
    if _ARCHIVE_POSITION.search(path):
        raise SourceError(
            f"the recording is in a Kaldi archive ({path[:120]}), which is not supported; write it to a file "
            "(with Kaldi's wav-copy), and list that file"
        )


def _segments(folder: str, recordings: dict[str, File]) -> Iterator[tuple[str, File, Span, int | None]]:
    """Yields id, recording, span and channel of each utterance; the channel is None if the segment has none."""
    uri = FileSystems.join(folder, "segments")
    if not FileSystems.exists(uri):
        for key, file in recordings.items():
            yield key, file, Span(), None
        return
    for number, key, rest in _entries(uri):
        try:
            recording, start, end, *channel = _BLANKS.split(rest)
            span = span_of(seconds("the start", start), _end(end))
            channel_number = _channel(*channel)
            if recording not in recordings:
                raise SourceError(f"the recording {recording!r} is not in {WAV_SCP}")
        except SourceError as error:
            raise SourceError(f"{uri}, line {number}: {error}") from error
        except (TypeError, ValueError) as error:
            raise SourceError(
                f"{uri}, line {number}: must be id, recording, start, end and optionally a channel number from 0"
            ) from error
        yield key, recordings[recording], span, channel_number


def _channel(text: str = "-1") -> int | None:
    """Parses the channel of a segment, from 0. As in Kaldi, -1 means none."""
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
        pass  # `seconds` reports the error
    return seconds("the end", text)
