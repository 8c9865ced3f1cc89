"""Shar of Lhotse: `cuts.000000.jsonl.gz` with the audio of its cuts in `recording.000000.tar`."""

from __future__ import annotations

import re
from typing import Any

from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.lhotse import supervision_columns
from transforms.corpus.layouts.listed_archives import ListedArchives
from transforms.corpus.listing import BadRow, Listing
from transforms.corpus.rows import json_rows
from transforms.elements import WHOLE, ListedMember
from transforms.storage.files import Finder, walk
from transforms.storage.text_files import as_text

_CUTS = re.compile(r"(?:^|/)cuts\.(\d+)\.jsonl(?:\.gz)?$")
_FIRST = ("cuts.000000.jsonl.gz", "cuts.000000.jsonl")
# Audio of other fields of cuts, such as `target_recording`.
_OTHER_AUDIO = re.compile(r"(?:^|/)(?!recording\.)(\w*(?:recording|audio)\w*)\.\d+\.tar(?:\.gz)?$")
_CARRIED = ("text", "speaker")


def recognises(source: Source) -> bool:
    """Returns whether a folder holds cuts of a Shar, or a file is one with its tar beside it."""
    if source.is_folder:
        return source.has_file(_CUTS) or any(source.file(name).exists for name in _FIRST)
    return any(Source(uri).exists for uri in _tars(source.uri))


def _tars(uri: str) -> list[str]:
    """Returns the possible tars of a shard of cuts."""
    shard = _CUTS.search(uri)
    folder = uri.rpartition("/")[0]
    return [f"{folder}/recording.{shard[1]}.tar{suffix}" for suffix in ("", ".gz")] if shard else []


def read(source: Source, listing: Listing) -> None:
    """Adds the cuts, with the columns `text` and `speaker` of their first supervision, and `words` if wanted.

    Args:
        source: a folder of a Shar, or one shard of cuts.
        listing: listing of the corpus.

    Raises:
        SourceError: a shard has no cut.
    """
    uris = [source.uri]
    if source.is_folder:
        names = [file.uri for file in walk(source.uri)]
        uris = [uri for uri in names if _CUTS.search(uri)]
        if others := sorted({found[1] for uri in names if (found := _OTHER_AUDIO.search(uri))}):
            listing.notes.append(
                f"{source.uri}: the audio of the cuts is scored; to score that of {', '.join(others)}, give its tars as --input"
            )
    for uri in uris:
        _read_shard(uri, source.folder, listing)


def _read_shard(uri: str, root: str, listing: Listing) -> None:
    finder = Finder(listing.options.audio_root or root)
    candidates = [finder.find(tar) for tar in _tars(uri)]
    tar = next((file for file in candidates if file.is_there), candidates[0])
    rows, unit = json_rows(uri)
    manifest = listing.manifest(uri, unit)
    archives = ListedArchives(manifest, root)
    wanted = listing.wanted(*_CARRIED)
    seen: set[str] = set()
    for row in rows:
        if isinstance(row, BadRow):
            manifest.reject(row)
            continue
        number, cut = row
        name = as_text(cut.get("id"))
        if not name or name in seen:
            fault = f"the id {name!r} occurs twice in the shard; ids must be unique" if name else "the cut has no id"
            manifest.reject(BadRow(number, fault, repr(cut)), name)
            continue
        seen.add(name)
        columns = supervision_columns(_supervised(cut), listing.options.word_times, wanted)
        listing.columns.update(columns)
        # The tar holds the audio of the cut, not that of the recording from which it was cut.
        archives.add(tar, name, ListedMember(name, WHOLE, columns), number)
    listing.columns.update(_CARRIED)
    archives.finish()
    manifest.check_not_empty()


def _supervised(cut: dict[str, Any]) -> dict[str, Any]:
    """Returns the cut that has the supervisions: the first track of a mix, or the cut itself."""
    tracks = cut.get("tracks")
    track = tracks[0] if isinstance(tracks, list) and tracks else None
    inner = track.get("cut") if isinstance(track, dict) else None
    return inner if isinstance(inner, dict) else cut


LAYOUT = Layout(name="Shar of Lhotse", recognises=recognises, read=read, manifest_format="lhotse")
