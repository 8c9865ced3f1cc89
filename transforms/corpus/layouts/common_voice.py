"""Mozilla Common Voice: tables such as `validated.tsv` beside a folder `clips`."""

from __future__ import annotations

from transforms.corpus.archives.member import has_audio_suffix
from transforms.corpus.columns import ColumnNames
from transforms.corpus.layout import Layout, Source
from transforms.corpus.listing import Listing
from transforms.corpus.manifests import manifest_finder, read_table
from transforms.corpus.rows import Table
from transforms.errors import SourceError
from transforms.storage.files import File

_CLIPS = "clips"
# The first table that a folder has is read.
_TABLES = ("validated.tsv", "train.tsv", "dev.tsv", "test.tsv", "other.tsv", "invalidated.tsv")
_COLUMNS = {"client_id", "path", "sentence"}
_CARRIED = ("text", "speaker")
_SUFFIX = ".mp3"


def recognises(source: Source) -> bool:
    """Returns whether a file is a table of Common Voice, or a folder holds one."""
    if source.is_folder:
        return bool(_tables(source))
    return source.kind == "tsv" and set(source.header("\t")) >= _COLUMNS


def _tables(folder: Source) -> list[Source]:
    tables = [folder.file(name) for name in _TABLES]
    return [table for table in tables if table.exists and recognises(table)]


def read(source: Source, listing: Listing) -> None:
    """Adds the clips of a table, with the columns `text` and `speaker`.

    Args:
        source: the table, or a folder, whose `validated.tsv` is read, or the only table.
        listing: listing of the corpus.

    Raises:
        SourceError: the table has no row; or the folder has several tables, and none is `validated.tsv`.
    """
    table = _table_of_folder(source, listing) if source.is_folder else source
    names = ColumnNames(
        {"path": "path", "text": "sentence", "speaker": "client_id", **listing.options.columns},
        listing.wanted(*_CARRIED),
    )
    finder = manifest_finder(table.uri, listing, _CLIPS)

    def find(path: str) -> File:
        # The first releases left the suffix out.
        return finder.find(path if has_audio_suffix(path) else path + _SUFFIX)

    read_table(Table(table.uri, "\t", is_quoted=False), listing.manifest(table.uri), names, find)


def _table_of_folder(folder: Source, listing: Listing) -> Source:
    tables = _tables(folder)
    chosen, *others = tables
    names = ", ".join(table.name for table in others)
    if others and chosen.name != _TABLES[0]:
        raise SourceError(
            f"{folder.uri}: this is Common Voice without {_TABLES[0]}; give one of its tables as --input: {chosen.uri} (or "
            f"{names})"
        )
    if others:
        listing.notes.append(
            f"{folder.uri}: this is Common Voice; the clips of {chosen.name} are scored; for others, give another table as "
            f"--input: {names}"
        )
    return chosen


LAYOUT = Layout(name="Common Voice", recognises=recognises, read=read, manifest_format="tsv", has_columns=True)
