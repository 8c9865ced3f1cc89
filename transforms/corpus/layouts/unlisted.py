"""Recordings in the folder of a corpus that its tables do not name."""

from __future__ import annotations

from collections.abc import Iterable

from transforms.corpus.archives.member import has_audio_suffix
from transforms.corpus.archives.reading import archive_kind_of
from transforms.corpus.layout import Source
from transforms.corpus.listing import Listing
from transforms.elements import ArchiveKind
from transforms.storage.files import File, walk


def add_unlisted(folder: Source, listing: Listing, files: Iterable[File] | None = None) -> None:
    """Adds the recordings in a folder that are not listed yet, so that nothing is left out silently. They have no text.

    With `audio_root`, the recordings of the tables are elsewhere, and none are added. Archives are only mentioned, because
    the corpus is often stored a second time in them.

    Args:
        folder: the folder.
        listing: listing of the corpus.
        files: the files in the folder; None to list them here.
    """
    if listing.options.audio_root:
        return
    named = listing.uris()
    added, archives = 0, 0
    for file in walk(folder.uri) if files is None else files:
        if file.uri in named:
            continue
        if archive_kind_of(file.uri) == ArchiveKind.TAR:
            archives += 1
        elif has_audio_suffix(file.uri):
            listing.add(file.ref(file.uri.removeprefix(f"{folder.uri}/")))
            added += 1
    if added:
        recordings = "1 recording is" if added == 1 else f"{added:,} recordings are"
        listing.notes.append(f"{folder.uri}: {recordings} in no table of the corpus, and scored without a text")
    if archives:
        tars = "1 tar is" if archives == 1 else f"{archives:,} tars are"
        listing.notes.append(f"{folder.uri}: {tars} not read; to score their recordings, give them as --input")
