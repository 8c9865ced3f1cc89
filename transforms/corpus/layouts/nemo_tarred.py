"""Tarred data sets of NeMo: a manifest whose `audio_filepath` names members of `audio_0.tar`, `audio_1.tar` and so on."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from transforms.corpus.columns import role_columns
from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.listed_archives import ListedArchives, is_tar
from transforms.corpus.listing import BadRow, Listing, ManifestListing
from transforms.corpus.manifests import RowError, seconds, span_id, span_of
from transforms.corpus.rows import json_rows
from transforms.elements import WHOLE, ListedMember, Span
from transforms.errors import SourceError
from transforms.storage.files import File, is_local, literally, match, walk
from transforms.storage.text_files import as_text

_PATH, _SHARD = "audio_filepath", "shard_id"
# In a folder: one manifest for all tars, or one for each tar.
_MANIFEST = "tarred_audio_manifest.json"
_SHARD_MANIFESTS = "sharded_manifests"
_SHARD_MANIFEST = re.compile(r"(?i)^(?:tarred_)?(?:audio_)?manifest_(\d+)\.jsonl?(?:\.gz)?$")
_TAR_NUMBER = re.compile(r"(?i)(\d+)\.(?:tar|tar\.gz|tgz)$")
# NeMo adds this to the name of a further span of the same member.
_SUB = re.compile(r"-sub\d+(?=(?:\.\w+)?$)")
_NOT_CARRIED = {_PATH, _SHARD, "offset"}


def recognises(source: Source) -> bool:
    """Returns whether a file is such a manifest with tars, or a folder holds one."""
    return any(map(_is_tarred, _manifests(source)[:1]))


def _manifests(source: Source) -> list[Source]:
    if not source.is_folder:
        return [source] if source.kind in ("json", "jsonl") else []
    manifest = source.file(_MANIFEST)
    if manifest.exists:
        return [manifest]
    folder = source.file(_SHARD_MANIFESTS)
    if not is_local(source.uri) or not folder.exists:
        return []
    found = [Source(file.uri) for file in walk(folder.uri)]
    return sorted((file for file in found if _SHARD_MANIFEST.match(file.name)), key=_shard_of_name)


def _shard_of_name(manifest: Source) -> int:
    number = _SHARD_MANIFEST.match(manifest.name)
    return int(number[1]) if number else -1


def _is_tarred(manifest: Source) -> bool:
    row = manifest.first_row
    if _PATH not in row:
        return False
    # Otherwise it is a usual manifest of NeMo, whose files are those of the paths.
    return (
        _SHARD in row or manifest.name == _MANIFEST or (_shard_of_name(manifest) >= 0 and bool(_tars(manifest, None)))
    )


def _tars(manifest: Source, audio_root: str | None) -> dict[int, list[File]]:
    """Returns the tars by their number: those in `audio_root`, or beside the manifest, or in the folder above it."""
    parent = manifest.folder.rpartition("/")[0]
    for folder in [audio_root] if audio_root else [manifest.folder, parent]:
        files = [file for file in match(f"{literally(folder.rstrip('/'))}/*") if is_tar(file.uri)]
        by_number: dict[int, list[File]] = {}
        for file in files:
            if number := _TAR_NUMBER.search(file.uri):
                by_number.setdefault(int(number[1]), []).append(file)
        if by_number:
            return by_number
    return {}


def read(source: Source, listing: Listing) -> None:
    """Adds the utterances of the manifests, with the columns `text` and `speaker` if there are such.

    Members that no row names are left out, as NeMo leaves them out. A row with an offset is a span of its member.

    Args:
        source: a manifest, or its folder.
        listing: listing of the corpus.

    Raises:
        SourceError: there are no tars, or a manifest has no row.
    """
    for manifest in _manifests(source):
        tars = _tars(manifest, listing.options.audio_root)
        if not tars:
            where = listing.options.audio_root or manifest.folder
            raise SourceError(
                f"{manifest.uri}: no tars such as audio_0.tar are in {where}; name their folder with --audio_root"
            )
        _read_manifest(manifest, tars, listing)


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """A row of a manifest.

    Attributes:
        number: number of the row.
        tar: the tar of its shard.
        name: name of the member, perhaps with `-sub1` and so on.
        span: part of the member.
        columns: columns to copy.
    """

    number: int
    tar: File
    name: str
    span: Span
    columns: dict[str, str]


def _read_manifest(source: Source, tars: dict[int, list[File]], listing: Listing) -> None:
    rows, unit = json_rows(source.uri)
    manifest = listing.manifest(source.uri, unit)
    roles = role_columns(source.first_row)
    wanted = listing.wanted(*(role for role in ("text", "speaker") if role in source.first_row or role in roles))
    default = _shard_of_name(source)
    good: list[_Row] = []
    for row in rows:
        if isinstance(row, BadRow):
            manifest.reject(row)
            continue
        number, entry = row
        try:
            tar, name, span = _tar(entry, tars, default), _name(entry), _span(entry)
        except RowError as error:
            manifest.reject(BadRow(number, str(error), repr(entry)), as_text(entry.get(_PATH)))
            continue
        texts = {**{role: entry.get(column) for role, column in roles.items()}, **entry}
        columns = {
            column: as_text(value)
            for column, value in texts.items()
            if column not in _NOT_CARRIED and (wanted is None or column in wanted)
        }
        listing.columns.update(entry.keys() - _NOT_CARRIED)
        good.append(_Row(number, tar, name, span, columns))
    _add_rows(good, manifest, listing.options.audio_root or source.folder)
    manifest.check_not_empty()


def _add_rows(rows: list[_Row], manifest: ManifestListing, root: str) -> None:
    archives = ListedArchives(manifest, root)
    names = {(row.tar.uri, row.name) for row in rows}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        member = _SUB.sub("", row.name)
        if row.span == WHOLE and (row.tar.uri, member) not in names:
            member = row.name
        own = row.name if (row.tar.uri, row.name) not in seen else span_id(row.name, row.span)
        if (row.tar.uri, own) in seen:
            fault = f"the utterance {own!r} occurs twice in its tar; names with their offsets must be unique"
            manifest.reject(BadRow(row.number, fault, own), own)
            continue
        seen.add((row.tar.uri, own))
        archives.add(row.tar, member, ListedMember(own, row.span, row.columns), row.number)
    archives.finish()


def _name(entry: dict[str, Any]) -> str:
    name = entry.get(_PATH)
    if not isinstance(name, str) or not name:
        raise RowError(f"the row has no {_PATH}")
    return name.removeprefix("./")


def _span(entry: dict[str, Any]) -> Span:
    if entry.get("offset") is None:
        return WHOLE
    start = seconds("offset", entry["offset"])
    length = entry.get("duration")
    return span_of(start, None if length is None else round(start + seconds("duration", length), 9))


def _tar(entry: dict[str, Any], tars: dict[int, list[File]], default: int) -> File:
    shard = entry.get(_SHARD, default)
    if isinstance(shard, bool) or not isinstance(shard, int) or (shard < 0 and len(tars) > 1):
        raise RowError(f"the row has no {_SHARD}; must be the number of its tar")
    files = next(iter(tars.values())) if shard < 0 else tars.get(shard, [])
    if not files:
        raise RowError(f"there is no tar of shard {shard}; its name must end in _{shard}.tar")
    if len(files) > 1:
        names = " and ".join(file.uri.rpartition("/")[2] for file in files[:2])
        raise RowError(f"shard {shard} may be {names}; move the tars of other data sets to another folder")
    return files[0]


LAYOUT = Layout(
    name="tarred NeMo manifest",
    recognises=recognises,
    read=read,
    manifest_format="jsonl",
    has_spans=lambda source: any("offset" in manifest.first_row for manifest in _manifests(source)[:1]),
)
