"""Collects the utterances of a corpus and its faulty rows, each of which becomes a reject."""

from __future__ import annotations

import array
import bisect
import dataclasses
import hashlib
import operator
import posixpath
from collections.abc import Iterator, Mapping
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
        # Manifest and line of each utterance in one integer, because there may be millions; 0 for files.
        self._places = array.array("Q")
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

    def add(self, ref: AudioRef, place: int = 0) -> None:
        """Adds an utterance. If its id occurs more than once, the first one keeps it, and the others become faulty.

        Args:
            ref: the utterance.
            place: manifest and line of its row; 0 for a file.
        """
        self.refs.append(ref)
        self._places.append(place)

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
        good, repeated = self._unique()
        if repeated and self.options.is_strict:
            raise SourceError(
                f"{self._source}: {len(repeated)} utterance ids occur more than once, as {min(repeated)!r}; ids "
                "must be unique: set them in the column id of a manifest"
            )
        faulty = list(self._with_unique_ids(good))
        if faulty:
            good += faulty
            good.sort(key=_ID)
        return Corpus(good, frozenset(self.columns), tuple(self._carried), tuple(self.notes))

    def _unique(self) -> tuple[list[AudioRef], set[str]]:
        """Returns the utterances without those whose id occurred before, sorted by id, and the ids that are repeated."""
        refs, places = self.refs, self._places
        # Sorting is stable, so that the first one of an id stays the first. A dictionary would take more memory.
        order = sorted(range(len(refs)), key=lambda index: refs[index].utterance_id)
        good: list[AudioRef] = []
        repeated = set()
        first = 0
        for index in order:
            ref = refs[index]
            if good and good[-1].utterance_id == ref.utterance_id:
                repeated.add(ref.utterance_id)
                detail = f"the id {ref.utterance_id!r} is also that of {self._place(first)}; ids must be unique"
                place = self._place(places[index]) if places[index] else ref.uri
                fault = RowFault(Reason.DUPLICATE_ID, f"{place}: {detail}")
                self.add_faulty(ref.utterance_id, ref.uri, ref.size_bytes, fault)
            else:
                good.append(ref)
                first = places[index]
        return good, repeated

    def _place(self, place: int) -> str:
        """Returns the name of a place, for a message."""
        manifest = self._manifests[place >> _LINE_BITS] if place else None
        return "another file" if manifest is None else manifest.place(place & ((1 << _LINE_BITS) - 1))

    def _with_unique_ids(self, good: list[AudioRef]) -> Iterator[AudioRef]:
        """Yields the faulty rows; `#2`, `#3` and so on is added to an id that is taken.

        Args:
            good: utterances, sorted by id.
        """
        numbers: dict[str, int] = {}
        used: set[str] = set()
        for ref in self._faulty:
            name = ref.utterance_id
            while name in used or _has_id(good, name):
                numbers[ref.utterance_id] = number = numbers.get(ref.utterance_id, 1) + 1
                name = f"{ref.utterance_id}#{number}"
            used.add(name)
            yield ref if name == ref.utterance_id else dataclasses.replace(ref, utterance_id=name)


_ID = operator.attrgetter("utterance_id")


def _has_id(refs: list[AudioRef], utterance_id: str) -> bool:
    """Returns whether a list that is sorted by id has an id."""
    index = bisect.bisect_left(refs, utterance_id, key=_ID)
    return index < len(refs) and refs[index].utterance_id == utterance_id


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
        self._base = index << _LINE_BITS

    def place(self, number: int) -> str:
        """Returns the name of a place for a message: the manifest and the number of the row."""
        return f"{self.uri}, {self._unit} {number}"

    def add(self, ref: AudioRef, number: int) -> None:
        """Adds the utterance of a row."""
        self.is_empty = False
        if ref.span is not WHOLE and ref.span != WHOLE:
            # `dataclasses.replace` would take seconds for a million rows.
            file = (ref.utterance_id, ref.uri, ref.size_bytes, ref.source_version)
            ref = AudioRef(*file, ref.columns, ref.span, ref.archive, ref.channel, None, number)
        self.listing.add(ref, self._base | number)

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
