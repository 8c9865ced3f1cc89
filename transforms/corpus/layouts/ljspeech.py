"""LJSpeech and corpora in its form: `metadata.csv` with lines `ID|TEXT|NORMALISED TEXT` beside a folder `wavs`."""

from __future__ import annotations

from transforms.corpus.archives.member import has_audio_suffix
from transforms.corpus.columns import ColumnNames
from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.unlisted import add_unlisted
from transforms.corpus.listing import Listing
from transforms.corpus.manifests import manifest_finder, read_table
from transforms.corpus.rows import Table
from transforms.storage.files import File

_METADATA = "metadata.csv"
_FOLDERS = ("wavs", "wav")
_SUFFIXES = (".wav", ".flac")
_HEADER = ("id", "text", "normalized_text")
_DELIMITER = "|"


def recognises(source: Source) -> bool:
    """Returns whether a file is such a table without a header, or a folder holds one."""
    table = _table(source)
    if table.kind not in ("csv", "txt") or not (table.exists or not source.is_folder):
        return False
    cells = table.header(_DELIMITER)
    if len(cells) not in (2, 3) or ColumnNames({}).path_candidates(cells):
        return False
    return table.name == _METADATA or bool(_first_file(table, cells[0]))


def _table(source: Source) -> Source:
    return source.file(_METADATA) if source.is_folder else source


def _first_file(table: Source, name: str) -> str | None:
    paths = [table.file(folder, file).uri for folder in _FOLDERS for file in _files(name)]
    return next((path for path in paths if Source(path).exists), None)


def _files(name: str) -> list[str]:
    return [name] if has_audio_suffix(name) else [name + suffix for suffix in _SUFFIXES]


def read(source: Source, listing: Listing) -> None:
    """Adds the recordings of the table, with the columns `text` and `normalized_text`.

    Args:
        source: the table or its folder.
        listing: listing of the corpus.

    Raises:
        SourceError: the table has no row.
    """
    table = _table(source)
    header = _HEADER[: len(table.header(_DELIMITER))]
    names = ColumnNames({"path": "id", "id": "id"}, listing.wanted(*header[1:]))
    finder = manifest_finder(table.uri, listing, *_FOLDERS)

    def find(name: str) -> File:
        files = (finder.find(file) for file in _files(name))
        return next((file for file in files if file.is_there), None) or finder.find(f"{_FOLDERS[0]}/{_files(name)[0]}")

    rows = Table(table.uri, _DELIMITER, is_quoted=False, header=header)
    read_table(rows, listing.manifest(table.uri), names, find)
    if source.is_folder:
        add_unlisted(source, listing)


LAYOUT = Layout(name="LJSpeech", recognises=recognises, read=read, manifest_format="csv")
