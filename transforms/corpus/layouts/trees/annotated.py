"""Recordings with annotations beside them: utterances in STM (as TED-LIUM) or RTTM, word times in CTM."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from transforms.corpus.archives.member import has_audio_suffix
from transforms.corpus.layout import ANNOTATION, Layout, Source
from transforms.corpus.layouts.trees.tree import Tree, stem
from transforms.corpus.listing import BadRow, Listing, ManifestListing
from transforms.corpus.manifests import RowError, seconds, span_id, span_of
from transforms.corpus.rows import stripped_lines
from transforms.corpus.word_times import WORDS, Word, words_json
from transforms.elements import WHOLE, Span
from transforms.errors import SourceError
from transforms.storage.files import File, Finder

_COMMENT = ";;"
_IGNORED = "ignore_time_segment_in_scoring"
_STM_LABEL = re.compile(r"^<[^>]*>(?:\s+|$)")
_SUFFIXES = (".wav", ".flac", ".sph", ".mp3", ".opus", ".ogg", ".m4a")
# Folders beside that of the annotations in which the recordings may be.
_SIBLINGS = ("sph", "wav", "wavs", "audio", "flac")


@dataclasses.dataclass(frozen=True, slots=True)
class _Line:
    """A line of an annotation.

    Attributes:
        manifest: listing of the annotation.
        number: number of the line.
        recording: name of the recording.
        channel: name of the channel.
        span: part of the recording.
        columns: speaker and text; of a word, its text and perhaps its score.
    """

    manifest: ManifestListing
    number: int
    recording: str
    channel: str
    span: Span
    columns: dict[str, str]


def recognises(source: Source) -> bool:
    """Returns whether a file is an annotation, or a folder holds some."""
    return source.has_file(ANNOTATION) if source.is_folder else ANNOTATION.search(source.uri) is not None


def read(source: Source, listing: Listing) -> None:
    """Adds the utterances of the annotations, and the recordings in the folder without one.

    STM and RTTM list utterances, with the columns `speaker` and, in STM, `text`. CTM adds `words`, and `text` where STM gives
    none; a recording with CTM only is one utterance.

    Args:
        source: the folder, or an annotation.
        listing: listing of the corpus.

    Raises:
        SourceError: the source is an annotation without any usable line.
    """
    tree = Tree(source, listing)
    lines: dict[str, list[_Line]] = {"stm": [], "rttm": [], "ctm": []}
    for uri in tree.transcripts(ANNOTATION):
        kind = uri.rpartition(".")[2].lower()
        lines[kind] += _lines(uri, kind, listing)
    texts = {line.recording for line in lines["stm"]}
    utterances = [*lines["stm"], *(line for line in lines["rttm"] if line.recording not in texts)]
    listing.wanted(
        *(["text"] if lines["stm"] or lines["ctm"] else []),
        *(["speaker"] if utterances else []),
        *([WORDS] if lines["ctm"] else []),
    )
    listing.columns.update(["text", "speaker", WORDS])
    _add(utterances, lines["ctm"], _Recordings(tree))
    if source.is_folder:
        tree.finish()
    elif not listing.corpus().refs:
        raise SourceError(f"{source.uri}: has no line that names an utterance")


def _lines(uri: str, kind: str, listing: Listing) -> Iterator[_Line]:
    """Yields the lines of an annotation; those that cannot be read are rejected."""
    manifest = listing.manifest(uri)
    parse = {"stm": _stm, "rttm": _rttm, "ctm": _ctm}[kind]
    ignored = 0
    for row in stripped_lines(uri):
        if isinstance(row, BadRow):
            manifest.reject(row)
            continue
        number, text = row
        if text.startswith(_COMMENT):
            continue
        try:
            parsed = parse(text)
        except RowError as error:
            manifest.reject(BadRow(number, str(error), text))
            continue
        if parsed is None:
            ignored += kind == "stm"
            continue
        recording, channel, span, columns = parsed
        recording = stem(recording) if has_audio_suffix(recording) else recording
        yield _Line(manifest, number, recording, channel, span, columns)
    if ignored:
        segments = "1 segment to ignore is" if ignored == 1 else f"{ignored:,} segments to ignore are"
        listing.notes.append(f"{uri}: {segments} left out ({_IGNORED})")


_Parsed = tuple[str, str, Span, dict[str, str]]


def _stm(text: str) -> _Parsed | None:
    parts = text.split(maxsplit=5)
    if len(parts) < 5:
        raise RowError("must be recording, channel, speaker, start, end, <label> and text")
    recording, channel, speaker, start, end = parts[:5]
    words = _STM_LABEL.sub("", parts[5]) if len(parts) == 6 else ""
    if words.strip().lower() == _IGNORED:
        return None
    return (
        recording,
        channel,
        span_of(seconds("start", start), seconds("end", end)),
        {"text": words, "speaker": speaker},
    )


def _rttm(text: str) -> _Parsed | None:
    parts = text.split()
    if parts[0] != "SPEAKER":
        return None
    if len(parts) < 8:
        raise RowError("must be SPEAKER, recording, channel, start, duration, <NA>, <NA> and speaker")
    return parts[1], parts[2], _timed(parts[3], parts[4]), {"speaker": parts[7]}


def _ctm(text: str) -> _Parsed | None:
    parts = text.split()
    if len(parts) < 5:
        raise RowError("must be recording, channel, start, duration and word")
    start, length = seconds("start", parts[2]), seconds("duration", parts[3])
    # A word may last 0 s, an utterance not.
    return parts[0], parts[1], Span(start, round(start + length, 9)), {"word": parts[4], "score": " ".join(parts[5:6])}


def _timed(start: str, length: str) -> Span:
    start_s = seconds("start", start)
    return span_of(start_s, round(start_s + seconds("duration", length), 9))


class _Recordings:
    """Finds the recordings that annotations name."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._finder = Finder(tree.source.folder)
        self._found: dict[tuple[str, str], tuple[File, str]] = {}
        self._by_name: dict[str, File] = {}
        if tree.source.is_folder:
            for key, file in tree.recordings.items():
                self._by_name.setdefault(key.rpartition("/")[2], file)

    def of(self, line: _Line) -> tuple[File, str]:
        """Returns the recording of a line, and its name for ids."""
        key = (line.manifest.uri, line.recording)
        if key not in self._found:
            self._found[key] = self._search(line)
        return self._found[key]

    def _search(self, line: _Line) -> tuple[File, str]:
        tree, uri = self._tree, line.manifest.uri
        folder = uri.rpartition("/")[0]
        folders = [folder, *(f"{folder.rpartition('/')[0]}/{name}" for name in _SIBLINGS)]
        is_folder = tree.source.is_folder
        # Some annotations name the recording otherwise than its file.
        for name in dict.fromkeys([line.recording, stem(uri).rpartition("/")[2]]):
            keys = [f"{place}/{name}" for place in folders]
            if is_folder:
                file = next((tree.recordings[key] for key in keys if key in tree.recordings), None)
                file = file or self._by_name.get(name)
            else:
                candidates = (self._finder.find(key + suffix) for key in keys for suffix in _SUFFIXES)
                file = next((candidate for candidate in candidates if candidate.is_there), None)
            if file is not None:
                return file, stem(tree.relative(file.uri)) if is_folder else name
        return self._finder.find(f"{folder}/{line.recording}.wav"), line.recording


def _add(utterances: list[_Line], words: list[_Line], recordings: _Recordings) -> None:
    channels: dict[str, set[str]] = defaultdict(set)
    words_of: dict[tuple[str, str], list[_Line]] = defaultdict(list)
    for line in (*utterances, *words):
        channels[line.recording].add(line.channel)
    for line in words:
        words_of[line.recording, line.channel].append(line)
    ids: set[str] = set()
    for line in utterances:
        file, name = recordings.of(line)
        channel = _channel_number(line.channel, channels[line.recording])
        own = span_id(name, line.span)
        if own in ids:
            # Speakers may talk at the same time.
            own += f"#{line.columns['speaker']}"
        ids.add(own)
        columns = {**_word_columns(words_of.get((line.recording, line.channel), ()), line.span), **line.columns}
        line.manifest.add(file.ref(own, columns, line.span, channel=channel), line.number)
    listed = {line.recording for line in utterances}
    for (recording, name_of_channel), of_recording in words_of.items():
        if recording in listed:
            continue
        first = of_recording[0]
        file, name = recordings.of(first)
        channel = _channel_number(name_of_channel, channels[recording])
        own = name if channel is None else f"{name}-{name_of_channel}"
        first.manifest.add(file.ref(own, _word_columns(of_recording, WHOLE), channel=channel), first.number)


def _channel_number(channel: str, all_channels: set[str]) -> int | None:
    """Returns the number of a channel from 0; None for a recording of which only one channel is annotated."""
    return sorted(all_channels).index(channel) if len(all_channels) > 1 else None


def _word_columns(lines: Iterable[_Line], span: Span) -> dict[str, str]:
    """Returns the words whose middle is in a span, with times from its start."""
    end_s = math.inf if span.end_s is None else span.end_s
    words = []
    for line in lines:
        start, end = line.span.start_s, line.span.end_s or line.span.start_s
        if span.start_s <= (start + end) / 2 < end_s:
            first, last = max(start, span.start_s), min(end, end_s)
            words.append(
                Word(line.columns["word"], first - span.start_s, last - span.start_s, _score(line.columns["score"]))
            )
    words.sort(key=lambda word: word.start_s)
    return {"text": " ".join(word.text for word in words), WORDS: words_json(words)} if words else {}


def _score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) else None


LAYOUT = Layout(
    name="recordings with STM, RTTM or CTM",
    recognises=recognises,
    read=read,
    manifest_format="jsonl",
    has_spans=lambda source: source.has_file(ANNOTATION) or not source.is_folder,
)
