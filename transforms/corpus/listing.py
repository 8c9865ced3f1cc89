"""Collects the utterances of a corpus and its faulty rows, each of which becomes a reject."""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from transforms.elements import WHOLE, AudioRef, RowFault, printable
from transforms.errors import Reason, SourceError
from transforms.storage.files import File, is_local

# Bits of the number of a line in the place of a row.
_LINE_BITS = 40


@dataclasses.dataclass(frozen=True)
class ListingOptions:
    """How to list a corpus.

    Attributes:
        carry: names of columns to copy into the utterances; None for all but the word times of Lhotse and Kaldi.
        word_times: whether to read the word times of Lhotse and Kaldi, which are large.
        audio_root: folder that relative paths of a manifest refer to; None for the folder of the manifest.
        columns: names of the columns of a manifest by role (`columns.ROLES`).
        is_strict: whether a faulty row is an error instead of a reject.
    """

    carry: frozenset[str] | None = None
    word_times: bool = False
    audio_root: str | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_strict: bool = True


class BadRow(NamedTuple):
    """A row of a manifest that cannot be used.

    Attributes:
        number: number of the line or row, from 1.
        fault: reason, for the end of a sentence.
        content: the row itself, as far as it can be read.
    """

    number: int
    fault: str
    content: str


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A listed corpus.

    Attributes:
        refs: utterances and faulty rows, sorted by id.
        columns: names of the columns that can be carried.
        carried: columns that the corpus carries by itself, such as the texts of a known layout.
        notes: sentences for the user about choices that the listing made.
    """

    refs: list[AudioRef]
    columns: frozenset[str]
    carried: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def faulty(self) -> list[AudioRef]:
        """Refs of faulty rows."""
        return [ref for ref in self.refs if ref.fault is not None]


class Listing:
    """Utterances and faulty rows of a corpus, in the order in which they are found.

    Args:
        source: the corpus, as the user named it.
        options: how to list.

    Attributes:
        options: how to list.
        refs: utterances.
        columns: names of the columns that can be carried.
        notes: sentences for the user.
        archive_kinds: kinds of the archives whose columns are known.
    """

    def __init__(self, source: str, options: ListingOptions) -> None:
        self.options = options
        self.refs: list[AudioRef] = []
        self.columns: set[str] = set()
        self.notes: list[str] = []
        self.archive_kinds: set[str] = set()
        self._source = source
        self._carried: dict[str, None] = {}
        self._manifests: list[ManifestListing] = []
        # Place of the row with an id: manifest and line in one integer, because there may be millions.
        self._places: dict[str, int] = {}
        self._repeated: set[str] = set()
        self._faulty: list[AudioRef] = []

    def manifest(self, uri: str, unit: str = "line") -> ManifestListing:
        """Starts a manifest.

        Args:
            uri: URI of the manifest.
            unit: unit of the numbers of its rows.
        """
        manifest = ManifestListing(self, uri, unit, len(self._manifests))
        self._manifests.append(manifest)
        return manifest

    def wanted(self, *carried: str) -> frozenset[str] | None:
        """Returns the names of the columns to copy from a manifest; None for all.

        Args:
            carried: columns that the manifest carries by itself.
        """
        self._carried |= dict.fromkeys(carried)
        return None if self.options.carry is None else self.options.carry | frozenset(self._carried)

    def uris(self) -> set[str]:
        """Returns the URIs of all recordings so far, also of those of faulty rows, without `.` and `..` in local paths."""
        return {posixpath.normpath(ref.uri) if is_local(ref.uri) else ref.uri for ref in (*self.refs, *self._faulty)}

    def add(self, ref: AudioRef, place: int = 0) -> bool:
        """Adds an utterance; returns False, and adds nothing, if its id occurred before."""
        if ref.utterance_id in self._places:
            return False
        self._places[ref.utterance_id] = place
        self.refs.append(ref)
        return True

    def add_repeated(self, ref: AudioRef, place: str) -> None:
        """Adds the reject of a row whose id occurred before.

        Args:
            ref: the utterance.
            place: place of its row, for the error.
        """
        self._repeated.add(ref.utterance_id)
        number = self._places[ref.utterance_id]
        first = self._manifests[number >> _LINE_BITS].place(number & ((1 << _LINE_BITS) - 1)) if number else "a file"
        detail = f"the id {ref.utterance_id!r} is also that of {first}; ids must be unique"
        self.add_faulty(ref.utterance_id, ref.uri, ref.size_bytes, RowFault(Reason.DUPLICATE_ID, f"{place}: {detail}"))

    def add_faulty(self, utterance_id: str, uri: str, size_bytes: int, fault: RowFault) -> None:
        """Adds a faulty row, whose id is made unique later."""
        # The detail contains the line. A row that moved is rejected again, so that the line in the table is right.
        fault = RowFault(fault.reason, printable(fault.detail))
        version = f"row-{digest(fault.detail)}"
        self._faulty.append(AudioRef(printable(utterance_id), uri, size_bytes, version, fault=fault))

    def corpus(self) -> Corpus:
        """Returns the corpus.

        Raises:
            SourceError: ids occur more than once, and the listing is strict.
        """
        if self._repeated and self.options.is_strict:
            raise SourceError(
                f"{self._source}: {len(self._repeated)} utterance ids occur more than once, as {min(self._repeated)!r}; ids "
                "must be unique: set them in the column id of a manifest"
            )
        refs = [*self.refs, *self._with_unique_ids()]
        refs.sort(key=lambda ref: ref.utterance_id)
        return Corpus(refs, frozenset(self.columns), tuple(self._carried), tuple(self.notes))

    def _with_unique_ids(self) -> Iterator[AudioRef]:
        """Yields the faulty rows; `#2`, `#3` and so on is added to an id that is taken."""
        numbers: dict[str, int] = {}
        taken: Collection[str] = self._places.keys()
        used: set[str] = set()
        for ref in self._faulty:
            name = ref.utterance_id
            while name in taken or name in used:
                numbers[ref.utterance_id] = number = numbers.get(ref.utterance_id, 1) + 1
                name = f"{ref.utterance_id}#{number}"
            used.add(name)
            yield ref if name == ref.utterance_id else dataclasses.replace(ref, utterance_id=name)


class ManifestListing:
    """The rows of one manifest.

    Args:
        listing: the whole listing.
        uri: URI of the manifest.
        unit: unit of the numbers of its rows, such as "line".
        index: number of the manifest in the listing.

    Attributes:
        listing: the whole listing.
        uri: URI of the manifest.
        is_empty: whether no row was found so far.
    """

    def __init__(self, listing: Listing, uri: str, unit: str, index: int) -> None:
        self.listing = listing
        self.uri = uri
        self.is_empty = True
        self._unit = unit
        self._name = uri.rpartition("/")[2]
        self._base = index << _LINE_BITS

    def place(self, number: int) -> str:
        """Returns the name of a place for a message: the manifest and the number of the row."""
        return f"{self.uri}, {self._unit} {number}"

    def add(self, ref: AudioRef, number: int) -> None:
        """Adds the utterance of a row."""
        self.is_empty = False
        if ref.span is not WHOLE and ref.span != WHOLE:
            ref = dataclasses.replace(ref, place=printable(f"{self._name}, {self._unit} {number}"))
        if not self.listing.add(ref, self._base | number):
            self.listing.add_repeated(ref, self.place(number))

    def reject(self, row: BadRow, utterance_id: str = "", file: File | None = None) -> None:
        """Adds a faulty row.

        Args:
            row: the row.
            utterance_id: id of the utterance; empty if it is unknown.
            file: recording of the row; None if it is unknown.

        Raises:
            SourceError: the listing is strict.
        """
        self.is_empty = False
        detail = f"{self.place(row.number)}: {row.fault}"
        if self.listing.options.is_strict:
            raise SourceError(detail)
        # The id must not depend on the line, so that it stays when lines are inserted before it.
        utterance_id = utterance_id or f"{self.uri.rpartition('/')[2]}#row-{digest(row.content)}"
        uri, size_bytes = (self.uri, 0) if file is None else (file.uri, file.size_bytes)
        self.listing.add_faulty(utterance_id, uri, size_bytes, RowFault(Reason.INVALID_ROW, detail))

    def check_not_empty(self) -> None:
        """Checks that the manifest has a row.

        Raises:
            SourceError: it has none.
        """
        if self.is_empty:
            raise SourceError(f"{self.uri}: the manifest is empty")


def digest(text: str) -> str:
    """Returns 12 hexadecimal digits that depend on a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
