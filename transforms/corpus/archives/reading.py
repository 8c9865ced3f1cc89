"""Reads archives of recordings (WebDataset tars, Parquet and Arrow files of Hugging Face) as streams of recordings."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import pyarrow as pa

from transforms.audio.sound_file import open_audio
from transforms.corpus.archives.arrow import ARROW_SUFFIX, arrow_rows, arrow_schema, read_arrow
from transforms.corpus.archives.audio_rows import BROKEN_TABLE, audio_columns, is_read_error
from transforms.corpus.archives.member import Member
from transforms.corpus.archives.parquet import parquet_rows, parquet_schema, read_parquet
from transforms.corpus.archives.tar import first_columns, read_tar
from transforms.corpus.columns import SPEAKER_COLUMNS, TEXT_COLUMNS, first_of
from transforms.elements import ArchiveKind, AudioRef, ListedMember
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.files import File, Finder

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIX = ".parquet"
_MIN_PARQUET_BYTES = 12
# Suffixes of archives that may hold other data than audio, with the function that reads their schema.
_TABLES = {PARQUET_SUFFIX: (ArchiveKind.PARQUET, parquet_schema), ARROW_SUFFIX: (ArchiveKind.ARROW, arrow_schema)}
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, *_TABLES)


def archive_kind(file: File) -> ArchiveKind | None:
    """Returns `archive_kind_at` of a file; does not open a table that is too small to hold a recording."""
    if file.uri.lower().endswith(tuple(_TABLES)) and file.size_bytes < _MIN_PARQUET_BYTES:
        return None
    return archive_kind_at(file.uri)


def archive_kind_at(uri: str) -> ArchiveKind | None:
    """Returns the kind of the archive at a URI; None for a file that is not an archive of recordings.

    A tar is recognised by its suffix, a Parquet or Arrow file by its suffix and its schema.
    """
    kind = archive_kind_of(uri)
    if kind in (None, ArchiveKind.TAR):
        return kind
    try:
        return kind if holds_audio(uri) else None
    except BROKEN_TABLE as error:
        # A file that cannot be read now stays listed: reading it gives a reject, and the next run retries it.
        return kind if is_read_error(error) else None


def archive_kind_of(name: str) -> ArchiveKind | None:
    """Returns the kind of archive that has the suffix of a name; None if there is none."""
    name = name.lower()
    if name.endswith(TAR_SUFFIXES):
        return ArchiveKind.TAR
    return next((kind for suffix, (kind, _) in _TABLES.items() if name.endswith(suffix)), None)


def holds_audio(uri: str) -> bool:
    """Returns whether a Parquet or Arrow file has columns of recordings, by its schema.

    Raises:
        OSError or pyarrow.ArrowException: the file cannot be opened, or is damaged.
    """
    return bool(audio_columns(_schema(uri)))


def _schema(uri: str) -> pa.Schema:
    (read_schema,) = [read for suffix, (_, read) in _TABLES.items() if uri.lower().endswith(suffix)]
    return read_schema(uri)


def table_schema(uri: str) -> pa.Schema:
    """Returns the schema of a Parquet or Arrow file.

    Raises:
        BROKEN_TABLE: the file is damaged or cannot be read.
    """
    return _schema(uri)


def table_rows(uri: str) -> Iterator[tuple[pa.RecordBatch, dict[str, str]]]:
    """Reads the rows of a Parquet or Arrow file with recordings, one at a time.

    Yields:
        A batch of one row with all columns, and the names of its recordings by column.

    Raises:
        AudioFault: the file is damaged or cannot be read.
    """
    try:
        if archive_kind_of(uri) == ArchiveKind.ARROW:
            yield from arrow_rows(uri)
        else:
            with open_audio(uri) as file:
                yield from parquet_rows(file)
    except BROKEN_TABLE as error:
        raise AudioFault(Stage.READ, Reason.CORRUPT, f"the table cannot be read: {error}") from error


def carried_roles(ref: AudioRef) -> list[str]:
    """Returns which of the columns `text` and `speaker` the recordings of an archive have, as far as its beginning shows."""
    try:
        if ref.archive == ArchiveKind.TAR:
            with open_audio(ref.uri) as file:
                names = list(first_columns(file))
        else:
            names = _schema(ref.uri).names
    except (AudioFault, *BROKEN_TABLE):
        return []
    known = (("text", TEXT_COLUMNS), ("speaker", SPEAKER_COLUMNS))
    return [role for role, candidates in known if first_of(candidates, names)]


def members(ref: AudioRef) -> Iterator[tuple[AudioRef, BinaryIO | AudioFault]]:
    """Reads the recordings in an archive, in its order, one in memory at a time. Nothing is unpacked to disk.

    Args:
        ref: an archive in any filesystem that Beam knows.

    Yields:
        Each recording with its content, at its start, or its fault. Its id is unique, and joins the ids of the archive and
        the recording (`a.tar/x/1.wav`). The archive's columns are copied to its recordings. If the archive holds no recording
        or cannot be read to its end, the last item is the archive itself with that fault.
    """
    if ref.listed is not None:
        yield from _listed_members(ref, ref.listed)
        return
    names: set[str] = set()
    try:
        with open_audio(ref.uri) as file:
            for member in _read(ref, file):
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


def _read(ref: AudioRef, file: BinaryIO) -> Iterator[Member]:
    if ref.archive == ArchiveKind.TAR:
        return read_tar(file)
    finder = Finder(ref.audio_root or ref.uri.rpartition("/")[0])
    return read_arrow(ref.uri, finder) if ref.archive == ArchiveKind.ARROW else read_parquet(file, finder)


def _listed_members(
    ref: AudioRef, listed: Mapping[str, Sequence[ListedMember]]
) -> Iterator[tuple[AudioRef, BinaryIO | AudioFault]]:
    """Yields the utterances that a manifest lists in an archive. Those that the archive lacks come last, as faults."""
    missing = dict(listed)
    damage: AudioFault | None = None
    try:
        with open_audio(ref.uri) as file:
            for member in _read(ref, file):
                key = member.name if member.name in missing else member.name.rpartition(".")[0]
                for utterance in missing.pop(key, ()):
                    content = member.content
                    if isinstance(content, io.BytesIO):
                        content = io.BytesIO(content.getbuffer())
                    yield _listed_ref(ref, utterance, member.name, member), content
    except AudioFault as fault:
        damage = fault
    for key, utterances in missing.items():
        for utterance in utterances:
            detail = f"the archive has no member {key!r}" if damage is None else f"not read: {damage.detail}"
            missing_fault = AudioFault(Stage.READ, Reason.UNREADABLE if damage is None else damage.reason, detail)
            yield _listed_ref(ref, utterance, key, Member(key, 0, {}, missing_fault)), missing_fault


def _listed_ref(ref: AudioRef, utterance: ListedMember, name: str, member: Member) -> AudioRef:
    own = _member_ref(ref, name, member)
    return dataclasses.replace(
        own,
        utterance_id=f"{ref.utterance_id}/{utterance.name}",
        columns={**own.columns, **utterance.columns},
        span=utterance.span,
    )


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
        listed=None,
        audio_root="",
    )
