"""Lists a corpus in any supported form as `AudioRef`s, without opening recordings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives import archive_kind
from transforms.corpus.kaldi import WAV_SCP, is_data_directory, read_data_directory
from transforms.corpus.lhotse import is_lhotse, read_lhotse
from transforms.corpus.manifests import read_csv, read_list, read_parquet, read_tsv, utterance_refs
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

# Supported forms of a corpus, for the help of the commands.
INPUT_KINDS = (
    "a directory, glob or file of audio; a manifest (CSV, TSV, JSONL, NeMo or Lhotse JSON lines, a list of "
    "paths in .txt, gzipped or not, or Parquet); "
    "a Kaldi data directory; WebDataset tars; Parquet with audio, as Hugging Face's"
)
# Suffixes of manifests. Group 1 holds the kinds that may be gzipped, group 2 the one that may not.
MANIFEST = re.compile(r"(?i)\.(?:(csv|tsv|jsonl|json|txt)(?:\.gz)?|(parquet))$")
_NOTHING = "there is no such file or directory"


def list_corpus(source: str, carry: Collection[str] = ()) -> list[AudioRef]:
    """Lists a corpus, sorted by utterance id.

    Args:
        source: one of

            - a directory: every file below it is a recording or, if it is a tar or Parquet with audio, an archive;
            - a Kaldi data directory;
            - a file: a recording, an archive or a manifest;
            - a glob: the files that match. A glob with the suffix of a manifest (`*.csv`) stands for the manifests'
              utterances. In other globs and in directories, manifests are files like any other.
        carry: columns that are carried. Word times of Lhotse and Kaldi are read only if `words` is one of them.

    Raises:
        SourceError: the source is missing or empty, a manifest is invalid, or two utterances have the same id.
    """
    if not source:
        raise SourceError("the corpus has an empty name")
    source = absolute(source)
    try:
        refs = _list_refs(source, carry)
    except SourceError:
        raise
    except (OSError, ValueError) as error:  # Beam raises a ValueError if the extra for a scheme is not installed
        raise SourceError(f"{source}: cannot be listed ({reason(error)})") from error
    if not refs:
        is_empty = is_local(source) and is_directory(source)
        raise SourceError(f"{source}: {'the directory holds no file' if is_empty else _NOTHING}")
    refs.sort(key=lambda ref: ref.utterance_id)
    _check_ids(source, refs)
    return refs


def _check_ids(source: str, refs: list[AudioRef]) -> None:
    """Raises a `SourceError` if an id occurs more than once in refs sorted by id."""
    repeated = {
        ref.utterance_id for ref, following in itertools.pairwise(refs) if ref.utterance_id == following.utterance_id
    }
    if repeated:
        raise SourceError(
            f"{source}: {len(repeated)} utterance ids occur more than once, as {min(repeated)!r}; ids must be unique: "
            "set them in the column id of a manifest"
        )


def _list_refs(source: str, carry: Collection[str]) -> list[AudioRef]:
    exists = is_local(source) and Path(source).exists()  # also if its name contains `*` or `[`
    if is_directory(source):
        root = source.rstrip("/") or "/"
        return read_data_directory(root, carry) if is_data_directory(root) else _relative_refs(root, walk(root))
    if source.endswith(f"/{WAV_SCP}"):
        return read_data_directory(FileSystems.split(source)[0], carry)
    is_glob = has_wildcards(source) and not exists
    root = glob_root(source) if is_glob else FileSystems.split(source)[0]
    if MANIFEST.search(source):
        files = match(source) if is_glob else [look_at(source) if is_local(source) else File(source, 0, "")]
        return [ref for file in files for ref in _manifest_refs(root, file, carry)]
    if exists:
        return _relative_refs(root, [look_at(source)])
    return _relative_refs(root, match(source))


def _relative_refs(root: str, files: Iterable[File]) -> list[AudioRef]:
    return [relative_ref(root, file, archive_kind(file)) for file in files]


def relative_ref(root: str, file: File, archive: ArchiveKind | None) -> AudioRef:
    """Returns the ref of a file in a folder, an utterance or an archive. Its id is the path relative to the folder."""
    return file.ref(file.uri.removeprefix(root.rstrip("/") + "/"), archive=archive)


def _manifest_refs(root: str, file: File, carry: Collection[str]) -> list[AudioRef]:
    suffix = MANIFEST.search(file.uri)
    assert suffix is not None
    kind = (suffix[1] or suffix[2]).lower()
    if kind == "csv":
        return read_csv(file.uri)
    if kind == "tsv":
        return read_tsv(file.uri)
    if kind == "txt":
        return read_list(file.uri)
    return _parquet_refs(root, file) if kind == "parquet" else _json_refs(file.uri, carry)


def _json_refs(uri: str, carry: Collection[str]) -> list[AudioRef]:
    rows = json_lines(uri)
    first = list(itertools.islice(rows, 1))
    all_rows = itertools.chain(first, rows)
    if first and is_lhotse(first[0][1]):
        return read_lhotse(uri, all_rows, carry)
    return utterance_refs(uri, all_rows)


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
