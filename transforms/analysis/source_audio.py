"""Decodes the audio of rows of `utterances` again, exactly as it was scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from apache_beam.io.filesystems import FileSystems

from transforms.audio.decode import decode_spans
from transforms.audio.sound_file import open_audio
from transforms.audio.span_reader import SPAN_SLACK_S, Decoded
from transforms.corpus.archives.reading import archive_kind, members
from transforms.elements import MIX, AudioRef, Span, archives_of
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.files import File, is_local, literally, look_at, match

# Columns of `utterances` that are needed to decode the audio.
COLUMNS = ("utterance_id", "uri", "start_s", "duration_s", "channel")
Row = Mapping[str, Any]


def source_audio(row: Row) -> Decoded:
    """Decodes the audio of a row.

    Raises:
        AudioFault: the audio cannot be decoded.
    """
    ((_, audio),) = source_audio_of_many([row])
    if isinstance(audio, AudioFault):
        raise audio
    return audio


def source_audio_of_many(rows: Sequence[Row]) -> Iterator[tuple[Row, Decoded | AudioFault]]:
    """Decodes the audio of several rows. Each archive is read once, up to its last member that is needed.

    Args:
        rows: rows of `utterances`, with `COLUMNS` at least.

    Yields:
        Each row with its audio or a fault: first the rows of files in their order, then the rows of archives.
    """
    rows_of_archives: dict[File, list[Row]] = defaultdict(list)
    for row in rows:
        archive = _archive_of(row["uri"])
        if archive is None:
            yield row, _decode_file(row)
        else:
            rows_of_archives[archive].append(row)
    for archive, rows_of_archive in rows_of_archives.items():
        yield from _decode_archive(archive, rows_of_archive)


def _decode_file(row: Row) -> Decoded | AudioFault:
    try:
        with open_audio(row["uri"]) as file:
            return _decode(file, row)
    except AudioFault as fault:
        return fault


def _decode(file: BinaryIO, row: Row) -> Decoded | AudioFault:
    span = Span(row["start_s"], row["start_s"] + row["duration_s"])
    channels = MIX if row["channel"] is None else str(row["channel"])
    ((_, _, audio),) = decode_spans(file, [span], channels)
    if isinstance(audio, Decoded) and abs(audio.duration_s - row["duration_s"]) > SPAN_SLACK_S:
        return AudioFault(
            Stage.READ,
            Reason.OUTSIDE,
            f"the audio was {row['duration_s']:.2f} s long when it was scored and is {audio.duration_s:.2f} s long now",
        )
    return audio


def _archive_of(uri: str) -> File | None:
    """Returns the archive that a recording is a member of; None for a recording that is a file of its own."""
    if "#" not in uri or _existing_file(uri) is not None:
        return None
    for name in archives_of(uri):
        file = _existing_file(name)
        if file is not None and archive_kind(file):
            return file
    return None


def _existing_file(uri: str) -> File | None:
    try:
        file = look_at(uri) if is_local(uri) else next(match(literally(uri)), None)
    except (OSError, ValueError):  # a ValueError if the package for a scheme is not installed
        return None
    return file if file is not None and file.is_there and FileSystems.exists(uri) else None


def _decode_archive(archive: File, rows: Sequence[Row]) -> Iterator[tuple[Row, Decoded | AudioFault]]:
    rows_of_uri: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        rows_of_uri[row["uri"]].append(row)
    ref = AudioRef(archive.uri, archive.uri, archive.size_bytes, archive.source_version, archive=archive_kind(archive))
    fault = AudioFault(Stage.READ, Reason.UNREADABLE, "the archive no longer has this member")
    for member, content in members(ref):
        if isinstance(content, AudioFault) and member is ref:
            fault = content
        for row in rows_of_uri.pop(member.uri, ()):
            yield row, content if isinstance(content, AudioFault) else _decode_member(content, row)
        if not rows_of_uri:
            return
    for missing in rows_of_uri.values():
        for row in missing:
            yield row, fault


def _decode_member(content: BinaryIO, row: Row) -> Decoded | AudioFault:
    content.seek(0)
    try:
        return _decode(content, row)
    except AudioFault as fault:
        return fault
