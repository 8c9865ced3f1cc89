"""Data sets of the library `datasets` that `save_to_disk` wrote: Arrow files beside `state.json` and `dataset_info.json`."""

from __future__ import annotations

import json
from typing import Any

from transforms.corpus.archives.reading import archive_kind
from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.archive_listing import add_archive
from transforms.corpus.layouts.unlisted import add_unlisted
from transforms.corpus.listing import Listing
from transforms.errors import SourceError
from transforms.storage.files import Finder
from transforms.storage.text_files import open_text

_STATE, _INFO, _DICT = "state.json", "dataset_info.json", "dataset_dict.json"


def recognises(source: Source) -> bool:
    """Returns whether a folder is such a data set, or a dictionary of them by split."""
    if not source.is_folder:
        return False
    return bool(_splits(source)) if source.file(_DICT).exists else _is_data_set(source)


def _is_data_set(folder: Source) -> bool:
    return folder.file(_STATE).exists and folder.file(_INFO).exists and bool(_data_files(folder))


def _splits(folder: Source) -> list[str]:
    splits = _object(folder.file(_DICT)).get("splits")
    return [name for name in splits if isinstance(name, str)] if isinstance(splits, list) else []


def _data_files(folder: Source) -> list[str]:
    files = _object(folder.file(_STATE)).get("_data_files")
    entries = files if isinstance(files, list) else []
    names = (entry.get("filename") for entry in entries if isinstance(entry, dict))
    return [name for name in names if isinstance(name, str)]


def _object(file: Source) -> dict[str, Any]:
    try:
        with open_text(file.uri) as text:
            value = json.load(text)
    except (SourceError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read(source: Source, listing: Listing) -> None:
    """Adds the Arrow files of the data set, with the columns `text` and `speaker` if there are such.

    Args:
        source: the folder. Ids begin with the path of the Arrow file in it.
        listing: listing of the corpus.

    Raises:
        SourceError: an Arrow file holds no audio, or a split is missing.
    """
    splits = _splits(source) if source.file(_DICT).exists else [""]
    for split in splits:
        folder = source.file(split) if split else source
        names = _data_files(folder)
        if not names:
            raise SourceError(f"{folder.uri}: {_STATE} names no Arrow file; copy the whole folder of save_to_disk")
        for name in names:
            file = Finder(folder.uri).find(name)
            kind = archive_kind(file)
            if kind is None and file.is_there:
                raise SourceError(
                    f"{file.uri}: has no column of audio; must have one of the type Audio, a struct of bytes and path"
                )
            ref = file.ref(f"{split}/{name}" if split else name, archive=kind)
            add_archive(ref, listing, prefix=f"{ref.utterance_id}/")
    add_unlisted(source, listing)


LAYOUT = Layout(name="save_to_disk", recognises=recognises, read=read, manifest_format="paths", has_columns=True)
