"""Files of a corpus whose transcripts lie in a tree of folders with the recordings."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives.member import has_audio_suffix
from transforms.corpus.layout import Source
from transforms.corpus.layouts.unlisted import add_unlisted
from transforms.corpus.listing import Listing
from transforms.elements import WHOLE, Span
from transforms.storage.files import File, Finder, walk

_READERS = 8


class Tree:
    """The files of a corpus. They are listed once, when they are needed.

    Args:
        source: the folder of the corpus, or a transcript in it, which then is the only one.
        listing: listing of the corpus.

    Attributes:
        source: the folder or the transcript.
        listing: listing of the corpus.
    """

    def __init__(self, source: Source, listing: Listing) -> None:
        self.source, self.listing = source, listing
        self._finder = Finder(source.folder)

    @functools.cached_property
    def files(self) -> list[File]:
        """All files in the folder."""
        return list(walk(self.source.folder))

    @functools.cached_property
    def recordings(self) -> dict[str, File]:
        """Recordings by their URI without the suffix; of several, the first."""
        recordings: dict[str, File] = {}
        for file in self.files:
            if has_audio_suffix(file.uri) and not _is_hidden(file.uri):
                recordings.setdefault(stem(file.uri), file)
        return recordings

    def transcripts(self, pattern: re.Pattern[str]) -> list[str]:
        """Returns the URIs of the files whose path a pattern is found in, or the given transcript."""
        if not self.source.is_folder:
            return [self.source.uri]
        return [file.uri for file in self.files if pattern.search(file.uri) and not _is_hidden(file.uri)]

    def recording(self, key: str, suffix: str) -> File:
        """Returns a recording.

        Args:
            key: its URI without the suffix.
            suffix: suffix for the name of a missing recording.
        """
        return self.recordings.get(key) or self._finder.find(key + suffix)

    def add(self, file: File, utterance_id: str, columns: Mapping[str, str], span: Span = WHOLE) -> None:
        """Adds an utterance that is in no line of a transcript."""
        self.listing.add(file.ref(utterance_id, columns, span))

    def finish(self) -> None:
        """Adds the recordings without a transcript, if the source is a folder."""
        if self.source.is_folder:
            add_unlisted(self.source, self.listing, self.files)

    def relative(self, uri: str) -> str:
        """Returns a URI relative to the folder."""
        return uri.removeprefix(f"{self.source.folder}/")


def _is_hidden(uri: str) -> bool:
    """Returns whether a file is hidden, such as `._a.flac`, which macOS writes beside `a.flac` in archives."""
    return uri.rpartition("/")[2].startswith(".")


def stem(uri: str) -> str:
    """Returns a URI without the last suffix of its name."""
    folder, slash, name = uri.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def read_texts(uris: list[str]) -> Iterator[tuple[str, str]]:
    """Yields small text files: the URI and the text, without blanks around it; empty if the file cannot be read."""
    with ThreadPoolExecutor(_READERS) as readers:
        yield from zip(uris, readers.map(_read_text, uris), strict=True)


def _read_text(uri: str) -> str:
    try:
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read().decode("utf-8-sig", "replace").strip()
    except OSError:
        return ""
