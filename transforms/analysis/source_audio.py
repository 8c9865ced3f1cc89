"""The audio behind rows of `utterances`, heard again as the scorer heard it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from apache_beam.io.filesystems import FileSystems

from transforms.audio.decode import decode_spans
from transforms.audio.sound_file import open_audio
from transforms.audio.span_reader import SPAN_SLACK_S, Decoded
from transforms.corpus.archives import archive_kind, members
from transforms.elements import MIX, AudioRef, Span, archives_of
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.files import File, is_local, literally, look_at, match

# What must be known of a row of `utterances` to hear it.
COLUMNS = ("utterance_id", "uri", "start_s", "duration_s", "channel")
Row = Mapping[str, Any]


def source_audio(row: Row) -> Decoded:
    """The audio of a row.

    Raises:
        AudioFault: it cannot be heard.
    """
    ((_, heard),) = source_audio_of_many([row])
    if isinstance(heard, AudioFault):
        raise heard
    return heard


def source_audio_of_many(rows: Sequence[Row]) -> Iterator[tuple[Row, Decoded | AudioFault]]:
    """The audio of some rows, one at a time; an archive is read once for all that is wanted of it, and no further.

    Args:
        rows: of `utterances`, with `COLUMNS` at least.

    Yields:
        Each row and its audio, or why there is none: those in files first and in their order, then those in archives.
    """
    in_archives: dict[File, list[Row]] = defaultdict(list)
    for row in rows:
        archive = _archive_of(row["uri"])
        if archive is None:
            yield row, _hear_file(row)
        else:
            in_archives[archive].append(row)
    for archive, wanted in in_archives.items():
        yield from _hear_archive(archive, wanted)


def _hear_file(row: Row) -> Decoded | AudioFault:
    try:
        with open_audio(row["uri"]) as file:
            return _decode(file, row)
    except AudioFault as fault:
        return fault


def _decode(file: BinaryIO, row: Row) -> Decoded | AudioFault:
    span = Span(row["start_s"], row["start_s"] + row["duration_s"])
    channels = MIX if row["channel"] is None else str(row["channel"])
    ((_, _, heard),) = decode_spans(file, [span], channels)
    if isinstance(heard, Decoded) and abs(heard.duration_s - row["duration_s"]) > SPAN_SLACK_S:
        return AudioFault(
            Stage.READ,
            Reason.OUTSIDE,
            f"it had {row['duration_s']:.2f} s when it was scored, and has {heard.duration_s:.2f} s now",
        )
    return heard


def _archive_of(uri: str) -> File | None:
    """The archive that a recording is a member of; None where it is a file by itself, be it there or not."""
    if "#" not in uri or _look_at(uri) is not None:
        return None
    for name in archives_of(uri):
        file = _look_at(name)
        if file is not None and archive_kind(file):
            return file
    return None


def _look_at(uri: str) -> File | None:
    try:
        file = look_at(uri) if is_local(uri) else next(match(literally(uri)), None)
    except (OSError, ValueError):  # Beam's own; a ValueError where the extra for a scheme is not installed
        return None
    return file if file is not None and file.is_there and FileSystems.exists(uri) else None


def _hear_archive(archive: File, rows: Sequence[Row]) -> Iterator[tuple[Row, Decoded | AudioFault]]:
    wanted: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        wanted[row["uri"]].append(row)
    ref = AudioRef(archive.uri, archive.uri, archive.size_bytes, archive.source_version, archive=archive_kind(archive))
    fault = AudioFault(Stage.READ, Reason.UNREADABLE, "it is not in the archive any more")
    for member, content in members(ref):
        if isinstance(content, AudioFault) and member is ref:
            fault = content
        for row in wanted.pop(member.uri, ()):
            yield row, content if isinstance(content, AudioFault) else _decode_member(content, row)
        if not wanted:
            return
    for row in (row for left in wanted.values() for row in left):
        yield row, fault


def _decode_member(content: BinaryIO, row: Row) -> Decoded | AudioFault:
    content.seek(0)
    try:
        return _decode(content, row)
    except AudioFault as fault:
        return fault
