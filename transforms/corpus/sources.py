"""Lists a corpus in any supported form as `AudioRef`s, without opening recordings."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives.reading import archive_kind, holds_audio
from transforms.corpus.layout import ANNOTATION, MANIFEST, Source
from transforms.corpus.layouts.archive_listing import add_archive
from transforms.corpus.layouts.registry import find_layout
from transforms.corpus.listing import Corpus, Listing, ListingOptions
from transforms.corpus.manifests import read_manifest
from transforms.corpus.word_times import WORDS
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

__all__ = ["INPUT_KINDS", "MANIFEST", "SourceError", "absolute", "list_corpus", "scan_corpus"]

# Supported forms of a corpus, for the help of the commands.
INPUT_KINDS = (
    "a directory, glob or file of audio; a manifest (CSV, TSV, JSONL, NeMo or Lhotse JSON lines, a list of paths in .txt, "
    "gzipped or not, or Parquet); a Kaldi data directory; a corpus such as Common Voice, LibriSpeech, MLS, VCTK, TED-LIUM or "
    "GigaSpeech, with its texts; recordings with RTTM or CTM; tars of WebDataset, NeMo or Lhotse Shar; Parquet with audio or a "
    "folder of save_to_disk, as Hugging Face's; docs/input-formats.md lists all"
)
_NOTHING = "there is no such file or directory"


def list_corpus(source: str, carry: Collection[str] = ()) -> list[AudioRef]:
    """Lists a corpus with all its columns, sorted by utterance id. A faulty row is an error.

    Args:
        source: the corpus, as for `scan_corpus`.
        carry: columns that are carried. Word times of Lhotse and Kaldi are read only if `words` is one of them.

    Raises:
        SourceError: the source is missing or empty, a manifest has a faulty row, or two utterances have the same id.
    """
    return scan_corpus(source, ListingOptions(word_times=WORDS in carry)).refs


def scan_corpus(source: str, options: ListingOptions) -> Corpus:
    """Lists a corpus.

    Args:
        source: one of

            - a directory: every file below it is a recording or, if it is a tar or Parquet with audio, an archive;
            - a folder or a file with a known layout (`layouts.registry`), such as a Kaldi data directory;
            - a file: a recording, an archive or a manifest;
            - a glob: the files that match. A glob with the suffix of a manifest (`*.csv`) stands for the manifests'
              utterances. In other globs and in directories, manifests are files like any other.
        options: how to list.

    Raises:
        SourceError: the source is missing or empty, a manifest cannot be read at all, or an option does not fit it. If the
            listing is strict, a row is faulty, or two utterances have the same id.
    """
    if not source:
        raise SourceError("the corpus has an empty name")
    source = absolute(source)
    listing = Listing(source, options)
    try:
        list_into(source, listing)
    except SourceError:
        raise
    except (OSError, ValueError) as error:  # Beam raises a ValueError if the extra for a scheme is not installed
        raise SourceError(f"{source}: cannot be listed ({reason(error)})") from error
    corpus = listing.corpus()
    if not corpus.refs:
        is_empty = is_local(source) and is_directory(source)
        raise SourceError(f"{source}: {'the directory holds no file' if is_empty else _NOTHING}")
    return corpus


def list_into(source: str, listing: Listing) -> None:
    """Adds the utterances of a corpus to a listing. See `scan_corpus`."""
    exists = is_local(source) and Path(source).exists()  # also if its name contains `*` or `[`
    is_glob = has_wildcards(source) and not exists
    if is_directory(source):
        _list_folder(source.rstrip("/") or "/", listing)
        return
    root = glob_root(source) if is_glob else FileSystems.split(source)[0]
    if not is_glob and source.endswith("/wav.scp"):
        _read_known(Source(source), listing)
    elif MANIFEST.search(source) or ANNOTATION.search(source):
        for file in (
            sorted(match(source)) if is_glob else [look_at(source) if is_local(source) else File(source, 0, "")]
        ):
            _read_manifest(root, file, listing, is_glob)
    else:
        _add_files(root, [look_at(source)] if exists else match(source), listing)


def _list_folder(folder: str, listing: Listing) -> None:
    if not _read_known(Source(folder), listing):
        _add_files(folder, walk(folder), listing)


def _read_known(source: Source, listing: Listing) -> bool:
    """Reads a folder or a file with a known layout; returns False for others."""
    layout = find_layout(source)
    if layout is None:
        return False
    if listing.options.columns and not layout.has_columns:
        raise SourceError(f"{source.uri}: --columns does not apply, because the layout is {layout.name}; leave it out")
    layout.read(source, listing)
    return True


def _check_no_manifest(source: str, options: ListingOptions) -> None:
    """Refuses options that a corpus without a manifest cannot follow."""
    for name, value in (("audio_root", options.audio_root), ("columns", options.columns)):
        if value:
            raise SourceError(f"{source}: --{name} applies to manifests, and this is none; leave it out")


def _add_files(root: str, files: Iterable[File], listing: Listing) -> None:
    """Adds recordings and archives.

    Raises:
        SourceError: options of manifests are given, and no file follows them.
    """
    uses_options = False
    for file in files:
        kind = archive_kind(file)
        ref = relative_ref(root, file, kind)
        if kind is not None:
            uses_options |= add_archive(ref, listing, prefix=f"{ref.utterance_id}/")
        else:
            listing.add(ref)
    if not uses_options:
        _check_no_manifest(root, listing.options)


def relative_ref(root: str, file: File, archive: ArchiveKind | None) -> AudioRef:
    """Returns the ref of a file in a folder, an utterance or an archive. Its id is the path relative to the folder."""
    return file.ref(file.uri.removeprefix(root.rstrip("/") + "/"), archive=archive)


def _read_manifest(root: str, file: File, listing: Listing, is_glob: bool) -> None:
    source = Source(file.uri)
    if source.kind == "parquet" and _holds_audio(file.uri):
        if not is_local(file.uri):
            file = next(match(file.uri), file)
        ref = relative_ref(root, file, ArchiveKind.PARQUET)
        if not add_archive(ref, listing, prefix=f"{ref.utterance_id}/" if is_glob else ""):
            _check_no_manifest(file.uri, listing.options)
    elif not _read_known(source, listing):
        read_manifest(file.uri, source.kind, listing)


def _holds_audio(uri: str) -> bool:
    if not FileSystems.exists(uri):
        raise SourceError(f"{uri}: there is no such manifest")
    try:
        return holds_audio(uri)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{uri}: cannot be read as Parquet ({error})") from error
