"""Recordings in the folder of a corpus that its tables do not name."""

from __future__ import annotations

from transforms.corpus.archive_member import has_audio_suffix
from transforms.corpus.layout import Source
from transforms.corpus.listing import Listing
from transforms.storage.files import walk


def add_unlisted(folder: Source, listing: Listing) -> None:
    """Adds the recordings in a folder that are not listed yet, so that nothing is left out silently. They have no text.

    With `audio_root`, the recordings of the tables are elsewhere, and none are added.
    """
    if listing.options.audio_root:
        return
    named = listing.uris()
    added = 0
    for file in walk(folder.uri):
        if file.uri not in named and has_audio_suffix(file.uri):
            listing.add(file.ref(file.uri.removeprefix(f"{folder.uri}/")))
            added += 1
    if added:
        recordings = "1 recording is" if added == 1 else f"{added:,} recordings are"
        listing.notes.append(f"{folder.uri}: {recordings} in no table of the corpus, and scored without a text")
