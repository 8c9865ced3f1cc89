"""LJSpeech and corpora in its form: `metadata.csv` with lines `ID|TEXT|NORMALISED TEXT` beside a folder `wavs`.

A filelist of speech synthesis, as for VITS and Tacotron, is a text file with lines `PATH|TEXT`, `PATH|SPEAKER|TEXT` or
`PATH|SPEAKER|LANGUAGE|TEXT`.
"""

from __future__ import annotations

import re

from apache_beam.io.filesystems import FileSystems

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
# The same with a speaker in the second of three cells, and of four cells.
_SPEAKER_HEADER, _LANGUAGE_HEADER = ("id", "speaker", "text"), ("id", "speaker", "language", "text")
_SPEAKER = re.compile(r"[\w.-]{1,40}", re.ASCII)
_DELIMITER = "|"


def recognises(source: Source) -> bool:
    """Returns whether a file is such a table without a header, or a folder holds one."""
    table = _table(source)
    if table.kind not in ("csv", "txt") or not (table.exists or not source.is_folder):
        return False
    cells = table.header(_DELIMITER)
    if ColumnNames({}).path_candidates(cells):
        return False
    if _is_filelist(table, cells):
        return True
    return len(cells) in (2, 3) and (table.name == _METADATA or bool(_first_file(table, cells[0])))


def _is_filelist(table: Source, cells: list[str]) -> bool:
    """Returns whether the first line of a text file is a path and a text, and no path with a bar in it."""
    return (
        table.kind == "txt" and 2 <= len(cells) <= 4 and has_audio_suffix(cells[0]) and not has_audio_suffix(cells[-1])
    )


def _header_of(cells: list[str], is_filelist: bool) -> tuple[str, ...]:
    if len(cells) == 4:
        return _LANGUAGE_HEADER
    if is_filelist and len(cells) == 3 and _SPEAKER.fullmatch(cells[1]):
        return _SPEAKER_HEADER
    return _HEADER[: len(cells)]


def _table(source: Source) -> Source:
    return source.file(_METADATA) if source.is_folder else source


def _first_file(table: Source, name: str) -> str | None:
    paths = [table.file(folder, file).uri for folder in _FOLDERS for file in _files(name)]
    return next((path for path in paths if Source(path).exists), None)


def _files(name: str) -> list[str]:
    return [name] if has_audio_suffix(name) else [name + suffix for suffix in _SUFFIXES]


def read(source: Source, listing: Listing) -> None:
    """Adds the recordings of the table, with the columns `text` and `normalized_text`, or `speaker`, `language` and `text`.

    Paths of a filelist are relative to its folder, or to the one above, because it is often in a folder `filelists`.

    Args:
        source: the table or its folder.
        listing: listing of the corpus.

    Raises:
        SourceError: the table has no row.
    """
    table = _table(source)
    cells = table.header(_DELIMITER)
    is_filelist = _is_filelist(table, cells)
    header = _header_of(cells, is_filelist)
    names = ColumnNames({"path": "id", "id": "id"}, listing.wanted(*header[1:]))
    above = [FileSystems.split(table.folder)[0]] if is_filelist else []
    finder = manifest_finder(table.uri, listing, *_FOLDERS, others=above)

    def find(name: str) -> File:
        files = (finder.find(file) for file in _files(name))
        return next((file for file in files if file.is_there), None) or finder.find(
            name if is_filelist else f"{_FOLDERS[0]}/{_files(name)[0]}"
        )

    rows = Table(table.uri, _DELIMITER, is_quoted=False, header=header)
    read_table(rows, listing.manifest(table.uri), names, find)
    if source.is_folder:
        add_unlisted(source, listing)


LAYOUT = Layout(name="LJSpeech", recognises=recognises, read=read, manifest_format="csv")
