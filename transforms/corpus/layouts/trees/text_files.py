"""Corpora with a text file for each recording: LibriTTS, VCTK and TIMIT."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.trees.tree import Tree, read_texts, stem
from transforms.corpus.listing import Listing
from transforms.corpus.word_times import WORDS, Word, words_json

_CARRIED = ("text", "speaker")
_TIMIT_RATE = 16_000


@dataclasses.dataclass(frozen=True)
class _Form:
    """A form of corpora with a text file for each recording.

    Attributes:
        sign: pattern of the paths of files by which the corpus is recognised.
        text: pattern of the paths of text files.
        audio_key: returns the key of a recording from its URI without the suffix.
        text_key: returns the key of the recordings of a text file from its URI.
        parse: returns the text in a text file.
        speaker: returns the speaker from the path of a recording.
        utterance_id: returns the id from the path of a recording relative to the corpus, without the suffix.
        words: pattern of the paths of files with word times; None if there are none.
    """

    sign: re.Pattern[str]
    text: re.Pattern[str]
    audio_key: Callable[[str], str]
    text_key: Callable[[str], str]
    parse: Callable[[str], str]
    speaker: Callable[[str], str]
    utterance_id: Callable[[str], str]
    words: re.Pattern[str] | None = None

    def recognises(self, source: Source) -> bool:
        """Returns whether a folder holds such a corpus."""
        return source.is_folder and source.has_file(self.sign)

    def read(self, source: Source, listing: Listing) -> None:
        """Adds the recordings with the columns `text` and `speaker`, and `words` if word times are wanted.

        Args:
            source: the folder of the corpus.
            listing: listing of the corpus.
        """
        tree = Tree(source, listing)
        texts = self._contents(tree, self.text, self.parse)
        words = self._contents(tree, self.words, _timit_words) if self.words and listing.options.word_times else {}
        listing.columns.update(_CARRIED, [WORDS] if self.words else [])
        listing.wanted(*_CARRIED)
        missing = 0
        for key, file in tree.recordings.items():
            text = texts.get(self.audio_key(key), "")
            missing += not text
            columns = {"text": text, "speaker": self.speaker(file.uri)}
            if times := words.get(self.audio_key(key)):
                columns[WORDS] = times
            tree.add(file, self.utterance_id(tree.relative(key)), columns)
        if missing:
            listing.notes.append(f"{source.uri}: {missing:,} of {len(tree.recordings):,} recordings have no text file")
        tree.finish()

    def _contents(self, tree: Tree, pattern: re.Pattern[str], parse: Callable[[str], str]) -> dict[str, str]:
        return {self.text_key(uri): parse(text) for uri, text in read_texts(tree.transcripts(pattern))}


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _folder_name(uri: str) -> str:
    return _name(uri.rpartition("/")[0])


def _timit_key(uri: str) -> str:
    """Returns a path up to the first dot of its name: some copies have `SA1.WAV.wav` beside `SA1.WAV`."""
    folder, slash, name = uri.rpartition("/")
    return (folder + slash + name.partition(".")[0]).lower()


def _timit_text(text: str) -> str:
    """Returns the text after the first and the last sample."""
    return text.split(maxsplit=2)[2] if len(text.split(maxsplit=2)) == 3 else ""


def _timit_words(text: str) -> str:
    """Returns the words of a `.WRD` file, whose lines are the first sample, the last sample and the word."""
    words = []
    for line in text.splitlines():
        parts = line.split(maxsplit=2)
        if len(parts) == 3 and parts[0].isdecimal() and parts[1].isdecimal():
            words.append(Word(parts[2], int(parts[0]) / _TIMIT_RATE, int(parts[1]) / _TIMIT_RATE))
    return words_json(words) if words else ""


_LIBRITTS = _Form(
    sign=re.compile(r"\.normalized\.txt$"),
    text=re.compile(r"\.normalized\.txt$"),
    audio_key=lambda key: key,
    text_key=lambda uri: uri.removesuffix(".normalized.txt"),
    parse=str,
    speaker=lambda uri: _name(uri).partition("_")[0],
    utterance_id=_name,
)
_VCTK = _Form(
    sign=re.compile(r"(?:^|/)(?:wav48[^/]*|txt)/(?:p|s)\d+/(?:p|s)\d+_\d+[^/]*$"),
    text=re.compile(r"(?:^|/)txt/(?:p|s)\d+/[^/]+\.txt$"),
    audio_key=lambda key: re.sub(r"_mic\d+$", "", _name(key)),
    text_key=lambda uri: _name(stem(uri)),
    parse=str,
    speaker=_folder_name,
    utterance_id=_name,
)
_TIMIT = _Form(
    sign=re.compile(r"(?i)(?:^|/)[fm][a-z]{2,3}\d/s[aix]\d+\.(?:phn|wrd)$|^s[aix]\d+\.(?:phn|wrd)$"),
    text=re.compile(r"(?i)/s[aix]\d+\.txt$"),
    audio_key=_timit_key,
    text_key=_timit_key,
    parse=_timit_text,
    speaker=_folder_name,
    utterance_id=lambda path: path,
    words=re.compile(r"(?i)/s[aix]\d+\.wrd$"),
)

LIBRITTS = Layout(name="LibriTTS", recognises=_LIBRITTS.recognises, read=_LIBRITTS.read, manifest_format="jsonl")
VCTK = Layout(name="VCTK", recognises=_VCTK.recognises, read=_VCTK.read, manifest_format="jsonl")
TIMIT = Layout(name="TIMIT", recognises=_TIMIT.recognises, read=_TIMIT.read, manifest_format="jsonl")
