"""`audiofolder` of Hugging Face: recordings beside `metadata.csv` or `metadata.jsonl`, perhaps in folders of splits."""

from __future__ import annotations

from transforms.corpus.columns import SPEAKER_COLUMNS, TEXT_COLUMNS, ColumnNames, first_of
from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.unlisted import add_unlisted
from transforms.corpus.listing import Listing
from transforms.corpus.manifests import DELIMITERS, manifest_finder, read_rows, read_table
from transforms.corpus.parquet_rows import ParquetTable
from transforms.corpus.rows import Table, json_rows
from transforms.errors import SourceError
from transforms.storage.files import is_local

_FILE_NAME = "file_name"
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
# Folders of splits in a bucket, where listing all folders may take long.
_SPLITS = ("train", "validation", "test", "dev", "data")


def recognises(source: Source) -> bool:
    """Returns whether a file is such a table, or a folder or a folder in it holds one."""
    return bool(_tables(source))


def _tables(source: Source) -> list[Source]:
    if not source.is_folder:
        return [source] if source.name in _METADATA and _FILE_NAME in _names(source) else []
    own = _tables_in(source)
    return own or [table for split in _splits(source) for table in _tables_in(split)]


def _tables_in(folder: Source) -> list[Source]:
    tables = [folder.file(name) for name in _METADATA]
    return [table for table in tables if table.exists and _FILE_NAME in _names(table)][:1]


def _splits(folder: Source) -> list[Source]:
    return folder.folders if is_local(folder.uri) else [folder.file(name) for name in _SPLITS]


def _names(table: Source) -> list[str]:
    if table.kind == "csv":
        return table.header(_delimiter(table))
    if table.kind == "parquet":
        try:
            return ParquetTable(table.uri).names
        except SourceError:
            return []
    return list(table.first_row)


def _delimiter(table: Source) -> str:
    return next((delimiter for delimiter in DELIMITERS if _FILE_NAME in table.header(delimiter)), DELIMITERS[0])


def read(source: Source, listing: Listing) -> None:
    """Adds the recordings of the tables, with the columns `text` and `speaker` if there are such, and all other recordings.

    Ids are paths relative to the source, as those of a directory.

    Args:
        source: a table, its folder, or a folder of splits.
        listing: listing of the corpus.

    Raises:
        SourceError: a table has no row.
    """
    for table in _tables(source):
        _read_table(source, table, listing)
    if source.is_folder:
        add_unlisted(source, listing)


def _read_table(source: Source, table: Source, listing: Listing) -> None:
    columns = _names(table)
    choice = {"path": _FILE_NAME}
    for role, known in (("text", TEXT_COLUMNS), ("speaker", SPEAKER_COLUMNS)):
        if name := first_of(known, columns):
            choice[role] = name
    choice |= listing.options.columns
    names = ColumnNames(choice, listing.wanted(*(role for role in ("text", "speaker") if choice.get(role))))
    find = manifest_finder(table.uri, listing).find
    prefix = f"{table.folder.removeprefix(source.folder).strip('/')}/".lstrip("/")
    if table.kind == "csv":
        read_table(
            Table(table.uri, _delimiter(table), is_quoted=True), listing.manifest(table.uri), names, find, prefix
        )
    elif table.kind == "parquet":
        rows = ParquetTable(table.uri).rows(columns)
        read_rows(listing.manifest(table.uri, "row"), rows, names, find, prefix)
    else:
        items, unit = json_rows(table.uri)
        read_rows(listing.manifest(table.uri, unit), items, names, find, prefix)


def _format_of(source: Source) -> str:
    kinds = {table.kind for table in _tables(source)}
    return kinds.pop() if len(kinds) == 1 else _CSV


_CSV = "csv"
LAYOUT = Layout(
    name="audiofolder",
    recognises=recognises,
    read=read,
    manifest_format=_CSV,
    format_of=_format_of,
    has_columns=True,
)
