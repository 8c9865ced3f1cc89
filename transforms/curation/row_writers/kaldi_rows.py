"""Writes the files of a Kaldi data directory back, each with the lines of kept utterances."""

from __future__ import annotations

import itertools
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.layouts.kaldi import WAV_SCP, word_times
from transforms.corpus.layouts.kaldi_commands import relocated
from transforms.corpus.listing import BadRow, Listing, ListingOptions
from transforms.corpus.rows import lines as numbered_lines
from transforms.corpus.source_rows import FILE_ROWS, READ_ERRORS
from transforms.corpus.word_times import WORDS, WordTimesError, lhotse_alignment, parse_words
from transforms.curation.kept_list import field_key, free_name
from transforms.curation.manifest_writers import write_lines
from transforms.curation.piece_texts import TextState, is_text_count, text_columns
from transforms.curation.row_writers.matching import SourceRows
from transforms.curation.row_writers.piece_fields import cut_texts
from transforms.storage.files import is_directory, literally, match
from transforms.storage.text_files import as_text

_SEGMENTS, _UTT2SPK, _SPK2UTT, _CTM, _TEXT = "segments", "utt2spk", "spk2utt", "ctm", "text"
_BLANKS = re.compile(r"[ \t]+")
# Lines by which the keys of a file without a known name are recognised.
_SAMPLE = 1_000
# Files about the samples or frames of a whole utterance.
_OF_WHOLE = {"feats.scp", "vad.scp", "utt2num_frames", "utt2len", "utt2num_samples"}
_LENGTH = "utt2dur"
_DIGITS = 6

_Line = tuple[str, str]
_Utterance = dict[str, Any]


def write_kaldi(rows: SourceRows, folder: Path) -> Counter[TextState]:
    """Writes a data directory with the files of the corpus's, in the order of their lines.

    A file is recognised as one of utterances, recordings or speakers by its name, or else by its keys. Other files are copied
    as they are, and folders are left out. Scores are in `utt2score`, channels that were scored by themselves in `utt2channel`.
    An exported file is a recording of its own, so there is no `segments`, and files of recordings, features and numbers of
    samples are left out.
    """
    folder.mkdir()
    return _Writer(rows, folder).write()


class _Writer:
    def __init__(self, rows: SourceRows, folder: Path) -> None:
        self._rows, self._folder = rows, folder
        self._source = FileSystems.split(rows.manifests.uris[0])[0]
        self._kept: dict[str, list[_Utterance]] = defaultdict(list)
        for utterance in rows.found():
            self._kept[_source_id(utterance, rows.splits_channels)].append(utterance)
        # Numbers of the lines of kept utterances, in `segments` or else in `wav.scp`.
        self._numbers = {utterance["place"] % FILE_ROWS for kept in self._kept.values() for utterance in kept}
        self._lost = list(rows.without_row())
        self._has_new_ids = any(
            utterance["id"] != name for name, utterances in self._kept.items() for utterance in utterances
        )
        self._pieces: Counter[TextState] = Counter()
        self._files = {
            file.uri.rpartition("/")[2]: file.uri
            for file in match(f"{literally(self._source)}/*")
            if not is_directory(file.uri)
        }
        has_segments = _SEGMENTS in self._files
        self._segments = {key: _BLANKS.split(rest) for key, rest in self._lines(_SEGMENTS)} if has_segments else {}
        self._speakers = dict(self._lines(_UTT2SPK))
        self._used_recordings = {self._recording(name) for name in self._kept}
        self._used_speakers = {self._speakers[name] for name in self._kept if name in self._speakers}
        self._new_files = {meaning: free_name(meaning, self._files) for meaning in ("utt2score", "utt2channel")}
        self._texts = self._texts_of_pieces()

    def write(self) -> Counter[TextState]:
        for name in self._files:
            if self._rows.are_files and self._is_of_recordings(name):
                continue
            try:
                lines = self._file(name)
                if lines is not None:
                    write_lines(self._folder / name, lines)
            except READ_ERRORS:  # it is not a text
                self._copy(name)
        if (
            not self._rows.are_files
            and _SEGMENTS not in self._files
            and (self._has_new_ids or any(not lost["whole"] for lost in self._lost))
        ):
            utterances = (utterance for kept in self._kept.values() for utterance in kept)
            lines = [self._segment(utterance) for utterance in (*utterances, *self._lost)]
            write_lines(self._folder / _SEGMENTS, self._in_order(lines))
        kept = [*itertools.chain.from_iterable(self._kept.values()), *self._lost]
        write_lines(
            self._folder / self._new_files["utt2score"],
            self._in_order(f"{utterance['id']} {utterance['score']:g}" for utterance in kept),
        )
        channels = [
            f"{utterance['id']} {utterance['channel']}" for utterance in kept if utterance["channel"] is not None
        ]
        if channels:
            write_lines(self._folder / self._new_files["utt2channel"], self._in_order(channels))
        return self._pieces

    def _is_of_recordings(self, name: str) -> bool:
        return name in (_SEGMENTS, *_OF_WHOLE) or (name != WAV_SCP and self._kind(name) == "recording")

    # --- one file ----------------------------------------------------------------------------------------------------

    def _file(self, name: str) -> Iterable[str] | None:
        """Returns the lines of a file; None for a file that was copied."""
        if name == WAV_SCP:
            return self._recordings()
        if name == _SPK2UTT:
            return self._utterances_of_speakers()
        kind = self._kind(name)
        if kind == "other":
            self._copy(name)
            return None
        if kind == "recording":
            return (line for (key, _), line in self._raw_lines(name) if key in self._used_recordings)
        if kind == "speaker":
            return (line for (key, _), line in self._raw_lines(name) if key in self._used_speakers)
        return self._in_order(itertools.chain(self._of_utterances(name), self._of_lost(name)))

    def _kind(self, name: str) -> str:
        """Returns what the keys of a file name: utterance, recording, speaker or other."""
        if name.startswith("utt2") or name in (_TEXT, _SEGMENTS):
            return "utterance"
        if name.startswith("reco2"):
            return "recording"
        if name.startswith("spk2"):
            return "speaker"
        keys = {key for key, _ in itertools.islice(self._lines(name), _SAMPLE)}
        if not keys:
            return "other"
        utterances = self._segments or {key: [] for key, _ in self._lines(WAV_SCP)}
        recordings = {segment[0] for segment in self._segments.values()} if self._segments else utterances
        for kind, known in (
            ("utterance", utterances),
            ("recording", recordings),
            ("speaker", set(self._speakers.values())),
        ):
            if keys <= set(known):
                return kind
        return "other"

    def _of_utterances(self, name: str) -> Iterator[str]:
        for (key, rest), line in self._raw_lines(name):
            for utterance in self._kept.get(key, ()):
                if utterance["id"] == key:
                    yield line
                elif (changed := self._line_of(name, key, rest, utterance)) is not None:
                    yield changed

    def _line_of(self, name: str, key: str, rest: str, utterance: _Utterance) -> str | None:
        """Returns the line of a piece, or of a channel of an utterance; None if the file has nothing about it."""
        if name == _SEGMENTS:
            return self._segment(utterance)
        if utterance["piece_start_us"] is None:
            return f"{utterance['id']} {rest}"
        if name == _LENGTH:
            return f"{utterance['id']} {round(utterance['end_s'] - utterance['start_s'], _DIGITS):g}"
        if name in _OF_WHOLE or is_text_count(name.removeprefix("utt2")):
            return None
        if name == _CTM:
            return None if self._texts[key] is None else self._words(utterance)
        if name in self._text_files():
            text, state = self._cut(utterance)
            if name == _TEXT:
                self._pieces[state] += 1
            return f"{utterance['id']} {text[name]}" if text.get(name) else None
        return f"{utterance['id']} {rest}"

    def _of_lost(self, name: str) -> Iterator[str]:
        """Yields the lines of kept utterances that are no longer in the directory."""
        columns = {_UTT2SPK: "speaker", _TEXT: "text"}
        for utterance in self._lost:
            if name == _SEGMENTS:
                yield self._segment(utterance)
            elif name in columns:
                text = " ".join(as_text(utterance.get(field_key(columns[name]))).split())
                if text or name == _UTT2SPK:
                    yield f"{utterance['id']} {text or utterance['id']}"

    def _recordings(self) -> Iterable[str]:
        if self._rows.are_files:
            utterances = itertools.chain(*self._kept.values(), self._lost)
            return self._in_order(f"{utterance['id']} {utterance['path']}" for utterance in utterances)
        return self._used_lines()

    def _used_lines(self) -> Iterator[str]:
        paths = {self._recording(name): utterances[0]["path"] for name, utterances in self._kept.items()}
        for (key, path), line in self._raw_lines(WAV_SCP):
            if key in paths:
                located = relocated(path, paths[key])
                yield line if path == located else f"{key} {located}"
        yield from (f"{utterance['id']} {utterance['path']}" for utterance in self._lost)

    def _utterances_of_speakers(self) -> Iterator[str]:
        for (key, rest), line in self._raw_lines(_SPK2UTT):
            old = _BLANKS.split(rest)
            new = [utterance["id"] for name in old for utterance in self._kept.get(name, ())]
            if new:
                yield line if new == old else " ".join([key, *(sorted(new) if self._has_new_ids else new)])

    def _copy(self, name: str) -> None:
        with (
            FileSystems.open(self._files[name], compression_type=CompressionTypes.UNCOMPRESSED) as source,
            (self._folder / name).open("wb") as target,
        ):
            shutil.copyfileobj(source, target)

    # --- parts of lines ----------------------------------------------------------------------------------------------

    def _recording(self, source_id: str) -> str:
        return self._segments[source_id][0] if source_id in self._segments else source_id

    def _segment(self, utterance: _Utterance) -> str:
        name = _source_id(utterance, self._rows.splits_channels)
        recording = self._recording(name) if name in self._kept else utterance["id"]
        channel = self._segments.get(name, ["", "", ""])[3:]
        if self._rows.splits_channels and utterance["channel"] is not None:
            channel = [str(utterance["channel"])]
        start_s, end_s = utterance["start_s"], utterance["end_s"]
        return " ".join([utterance["id"], recording, f"{start_s:.6f}", f"{end_s:.6f}", *channel])

    def _text_files(self) -> list[str]:
        return text_columns([name for name in self._files if name != _UTT2SPK and not name.endswith(".scp")])

    def _texts_of_pieces(self) -> Mapping[str, dict[str, str] | None]:
        """Returns the texts and word times of the utterances of kept pieces."""
        parents: dict[str, dict[str, str] | None] = {
            name: {} for name, kept in self._kept.items() if any(item["piece_start_us"] is not None for item in kept)
        }
        if not parents:
            return {}
        for name in self._text_files():
            for key, rest in self._lines(name):
                if (texts := parents.get(key)) is not None:
                    texts[name] = rest
        if _CTM in self._files:
            try:
                words = word_times(self._source, Listing(self._source, ListingOptions(is_strict=False))) or {}
            except READ_ERRORS:
                words = {}
            for key, texts in parents.items():
                if texts is not None and key in words:
                    texts[WORDS] = words[key]
        return parents

    def _cut(self, utterance: _Utterance) -> tuple[dict[str, Any], TextState]:
        return cut_texts(self._texts.get(_source_id(utterance, self._rows.splits_channels)) or {}, utterance)

    def _words(self, utterance: _Utterance) -> str | None:
        """Returns the lines of `ctm` for a piece, once for all lines of its utterance."""
        if utterance.get("has_words"):
            return None
        utterance["has_words"] = True
        words = self._cut(utterance)[0].get(WORDS)
        length_s = utterance["end_s"] - utterance["start_s"]
        try:
            items = lhotse_alignment(parse_words(words, length_s)) if words else []
        except WordTimesError:
            return None
        channel = 1 if utterance["channel"] is None else utterance["channel"] + 1
        lines = []
        for word, start_s, word_s, score in items:
            confidence = "" if score is None else f" {score:g}"
            lines.append(f"{utterance['id']} {channel} {start_s:.3f} {word_s:.3f} {word}{confidence}")
        return "\n".join(lines) or None

    def _in_order(self, lines: Iterable[str]) -> Iterable[str]:
        """Returns lines as they are; sorted as in the C locale if utterances have new ids, as Kaldi needs them."""
        return sorted(lines, key=lambda line: line.partition(" ")[0].encode()) if self._has_new_ids else lines

    # --- reading -----------------------------------------------------------------------------------------------------

    def _lines(self, name: str) -> Iterator[_Line]:
        return (pair for pair, _ in self._raw_lines(name))

    def _raw_lines(self, name: str) -> Iterator[tuple[_Line, str]]:
        """Yields the key and the rest of each line of a file, and the line as it is; none if there is no such file.

        Lines that the listing of the corpus rejects are left out.
        """
        if name not in self._files:
            return
        seen: set[str] = set()
        for line in numbered_lines(self._files[name]):
            if isinstance(line, BadRow):
                continue
            number, text = line
            key, *rest = _BLANKS.split(text.strip(" \t\r\n"), maxsplit=1)
            # A line whose id another line has is faulty.
            is_repeated = (name == WAV_SCP and key in seen) or (
                name == _SEGMENTS and key in self._kept and number not in self._numbers
            )
            if key and not is_repeated:
                yield (key, rest[0] if rest else ""), text.rstrip("\r\n")
            if name == WAV_SCP:
                seen.add(key)


def without_text(folder: Path, kept: int) -> int:
    """Returns the number of kept utterances that a written directory has no text for; 0 if it has no texts at all."""
    path = folder / _TEXT
    if not path.exists():
        return 0
    with path.open(encoding="utf-8", newline="\n") as file:
        return kept - sum(len(line.split(maxsplit=1)) > 1 for line in file)


def _source_id(utterance: Mapping[str, Any], splits_channels: bool) -> str:
    name = str(utterance["source_id"])
    return re.sub(r"#ch\d+$", "", name) if splits_channels else name
