"""Reads archives of recordings (WebDataset tars, Hugging Face Parquet files) as a stream, one recording at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

from transforms.audio.sound_file import open_audio
from transforms.corpus.archive_member import Member
from transforms.corpus.parquet_archive import BROKEN_PARQUET, holds_audio, is_read_error, read_parquet
from transforms.corpus.tar_archive import read_tar
from transforms.elements import ArchiveKind, AudioRef
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.files import File

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIX = ".parquet"
_MIN_PARQUET_BYTES = 12


def archive_kind(file: File) -> ArchiveKind | None:
    """Returns `archive_kind_at` of a file; does not open a Parquet file that is too small to hold a recording."""
    if file.uri.lower().endswith(PARQUET_SUFFIX) and file.size_bytes < _MIN_PARQUET_BYTES:
        return None
    return archive_kind_at(file.uri)


def archive_kind_at(uri: str) -> ArchiveKind | None:
    """Returns the kind of the archive at a URI; None for a file that is not an archive of recordings.

    A tar is recognised by its suffix, a Parquet file by its suffix and the schema in its footer.
    """
    name = uri.lower()
    if name.endswith(TAR_SUFFIXES):
        return ArchiveKind.TAR
    if not name.endswith(PARQUET_SUFFIX):
        return None
    try:
        return ArchiveKind.PARQUET if holds_audio(uri) else None
    except BROKEN_PARQUET as error:
        # A file that cannot be read now stays listed: reading it gives a reject, and the next run retries it.
        return ArchiveKind.PARQUET if is_read_error(error) else None


def members(ref: AudioRef) -> Iterator[tuple[AudioRef, BinaryIO | AudioFault]]:
    """Reads the recordings in an archive, in its order, one in memory at a time. Nothing is unpacked to disk.

    Args:
        ref: an archive in any filesystem that Beam knows.

    Yields:
        Each recording with its content, at its start, or its fault. Its id is unique, and joins the ids of the archive and
        the recording (`a.tar/x/1.wav`). The archive's columns are copied to its recordings. If the archive holds no recording
        or cannot be read to its end, the last item is the archive itself with that fault.
    """
    names: set[str] = set()
    try:
        with open_audio(ref.uri) as file:
            for member in read_tar(file) if ref.archive == ArchiveKind.TAR else read_parquet(file):
                name, content = member.name, member.content
                if name in names:
                    detail = f"the name {name!r} occurs more than once in the archive"
                    content = AudioFault(Stage.READ, Reason.DUPLICATE_ID, detail)
                    name = _unique(name, names)
                names.add(name)
                yield _member_ref(ref, name, member), content
        if not names:
            raise AudioFault(Stage.READ, Reason.EMPTY_ARCHIVE, "the archive holds no recording")
    except AudioFault as fault:
        yield ref, fault


def _unique(name: str, names: set[str]) -> str:
    number = 2
    while f"{name}#{number}" in names:
        number += 1
    return f"{name}#{number}"


def _member_ref(ref: AudioRef, name: str, member: Member) -> AudioRef:
    return dataclasses.replace(
        ref,
        utterance_id=f"{ref.utterance_id}/{name}",
        uri=f"{ref.uri}#{name}",
        size_bytes=member.size_bytes,
        columns={**ref.columns, **member.columns},
        archive=None,
    )
