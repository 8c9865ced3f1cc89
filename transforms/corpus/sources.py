"""What is in a corpus: whatever speech is kept in becomes `AudioRef`s. No recording is opened here."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives import archive_kind
from transforms.corpus.kaldi import WAV_SCP, is_data_directory, read_data_directory
from transforms.corpus.lhotse import is_lhotse, read_lhotse
from transforms.corpus.manifests import read_csv, read_list, read_parquet, read_tsv, utterances
from transforms.corpus.parquet_archive import holds_audio
from transforms.elements import ArchiveKind, AudioRef
from transforms.errors import SourceError
from transforms.storage.files import (
    File,
    absolute,
    glob_root,
    has_wildcards,
    is_directory,
    is_local,
    look_at,
    match,
    walk,
)
from transforms.storage.storage_errors import reason
from transforms.storage.text_files import json_lines

__all__ = ["INPUT_KINDS", "MANIFEST", "SourceError", "absolute", "list_corpus"]

# What a corpus may be, for the help of the command.
INPUT_KINDS = (
    "a directory, glob or file of audio; a manifest (CSV, TSV, JSONL, NeMo or Lhotse JSON lines, a list of "
    "paths in .txt, gzipped or not, or Parquet); "
    "a Kaldi data directory; WebDataset tars; Parquet with audio, as Hugging Face's"
)
# Manifests, by their names: the kind, and that of those that are never gzipped.
MANIFEST = re.compile(r"(?i)\.(?:(csv|tsv|jsonl|json|txt)(?:\.gz)?|(parquet))$")
_NOTHING = "there is no such file or directory"


def list_corpus(source: str) -> list[AudioRef]:
    """Lists a corpus, sorted by utterance id.

    Args:
        source: a directory (every file below it counts, whatever its name; tars, and Parquet with audio, are archives of
            recordings), or a Kaldi data directory; a glob or a single file, be it audio, an archive or a manifest. In a
            directory or a glob such as `*`, manifests are files like any other; a glob that ends like a manifest's name
            (`*.csv`) stands for all that those list.

    Raises:
        SourceError: nothing is there, a manifest cannot be understood, or two utterances have the same id.
    """
    if not source:
        raise SourceError("the corpus has an empty name")
    source = absolute(source)
    try:
        refs = _list_refs(source)
    except SourceError:
        raise
    except (OSError, ValueError) as error:  # Beam's own; a ValueError where the extra for a scheme is not installed
        raise SourceError(f"{source}: cannot be listed ({reason(error)})") from error
    if not refs:
        is_empty = is_local(source) and is_directory(source)
        raise SourceError(f"{source}: {'the directory holds no file' if is_empty else _NOTHING}")
    refs.sort(key=lambda ref: ref.utterance_id)
    _check_ids(source, refs)
    return refs


def _check_ids(source: str, refs: list[AudioRef]) -> None:
    """Refuses ids that stand more than once, in refs sorted by id."""
    twice = {ref.utterance_id for ref, after in itertools.pairwise(refs) if ref.utterance_id == after.utterance_id}
    if twice:
        raise SourceError(
            f"{source}: {len(twice)} utterance ids stand more than once, {min(twice)!r} first; ids must be unique: "
            "a manifest may give them in a column id"
        )


def _list_refs(source: str) -> list[AudioRef]:
    there = is_local(source) and Path(source).exists()  # whatever its name, be there `*` or `[` in it
    if is_directory(source):
        root = source.rstrip("/") or "/"
        return read_data_directory(root) if is_data_directory(root) else _relative_refs(root, walk(root))
    if source.endswith(f"/{WAV_SCP}"):
        return read_data_directory(FileSystems.split(source)[0])
    several = has_wildcards(source) and not there
    root = glob_root(source) if several else FileSystems.split(source)[0]
    if MANIFEST.search(source):
        files = match(source) if several else [look_at(source) if is_local(source) else File(source, 0, "")]
        return [ref for file in files for ref in _manifest_refs(root, file)]
    if there:
        return _relative_refs(root, [look_at(source)])
    return _relative_refs(root, match(source))


def _relative_refs(root: str, files: Iterable[File]) -> list[AudioRef]:
    return [relative_ref(root, file, archive_kind(file)) for file in files]


def relative_ref(root: str, file: File, archive: ArchiveKind | None) -> AudioRef:
    """A file of a folder as an utterance, or as an archive of them: its id is its path in the folder."""
    return file.ref(file.uri.removeprefix(root.rstrip("/") + "/"), archive=archive)


def _manifest_refs(root: str, file: File) -> list[AudioRef]:
    found = MANIFEST.search(file.uri)
    assert found is not None
    kind = (found[1] or found[2]).lower()
    if kind == "csv":
        return read_csv(file.uri)
    if kind == "tsv":
        return read_tsv(file.uri)
    if kind == "txt":
        return read_list(file.uri)
    return _parquet_refs(root, file) if kind == "parquet" else _json_refs(file.uri)


def _json_refs(uri: str) -> list[AudioRef]:
    rows = json_lines(uri)
    first = list(itertools.islice(rows, 1))
    all_rows = itertools.chain(first, rows)
    if first and is_lhotse(first[0][1]):
        return read_lhotse(uri, all_rows)
    return utterances(uri, all_rows)


def _parquet_refs(root: str, file: File) -> list[AudioRef]:
    if not FileSystems.exists(file.uri):
        raise SourceError(f"{file.uri}: there is no such manifest")
    try:
        if not holds_audio(file.uri):
            return read_parquet(file.uri)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{file.uri}: cannot be read as Parquet ({error})") from error
    if not is_local(file.uri):
        file = next(match(file.uri), file)
    return [relative_ref(root, file, ArchiveKind.PARQUET)]
