"""Lists archives. A table that holds only paths of recordings is read as a manifest."""

from __future__ import annotations

import dataclasses

from transforms.corpus.archives import arrow, parquet
from transforms.corpus.archives.audio_rows import BROKEN_TABLE
from transforms.corpus.archives.reading import carried_roles
from transforms.corpus.columns import ColumnNames, role_columns
from transforms.corpus.listing import Listing
from transforms.corpus.manifests import manifest_finder, read_rows
from transforms.corpus.parquet_rows import ParquetTable
from transforms.elements import ArchiveKind, AudioRef


def add_archive(ref: AudioRef, listing: Listing, prefix: str = "") -> bool:
    """Adds an archive, or the recordings that it names if it holds only their paths.

    Args:
        ref: the archive.
        listing: listing of the corpus.
        prefix: text before the ids of recordings that the archive only names.

    Returns:
        Whether the options `audio_root` and `columns` apply to it.
    """
    some, only = _rows_without_bytes(ref)
    if only:
        _read_paths(ref, listing, prefix)
        return True
    if ref.archive is not None and ref.archive not in listing.archive_kinds:
        # The first archive of a kind shows the columns of all.
        listing.archive_kinds.add(ref.archive)
        listing.wanted(*carried_roles(ref))
    if some and listing.options.audio_root:
        ref = dataclasses.replace(ref, audio_root=listing.options.audio_root)
    listing.add(ref)
    return some and not listing.options.columns


def _rows_without_bytes(ref: AudioRef) -> tuple[bool, bool]:
    """Returns whether some rows of a table, and whether all, hold no recording. A damaged table is reported when it is read."""
    try:
        if ref.archive == ArchiveKind.PARQUET:
            return parquet.lacks_bytes(ref.uri)
        if ref.archive == ArchiveKind.ARROW:
            return arrow.lacks_bytes(ref.uri)
    except BROKEN_TABLE:
        pass
    return False, False


def _read_paths(ref: AudioRef, listing: Listing, prefix: str) -> None:
    if ref.archive == ArchiveKind.PARQUET:
        table = ParquetTable(ref.uri)
        columns, rows = table.names, table.rows(table.names)
    else:
        columns, rows = arrow.arrow_schema(ref.uri).names, arrow.path_rows(ref.uri)
    choice = {**role_columns(columns), **listing.options.columns}
    roles = [role for role in ("text", "speaker") if role in choice or role in columns]
    names = ColumnNames(choice, listing.wanted(*roles))
    find = manifest_finder(ref.uri, listing).find
    listing.columns.update(columns)
    read_rows(listing.manifest(ref.uri, "row"), rows, names, find, prefix, prefixes_ids=True)
