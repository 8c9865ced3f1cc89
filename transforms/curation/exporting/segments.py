"""Reads the audio of utterances: a copy of the whole recording, or a span that is cut out of it exactly."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import tempfile
from collections.abc import Generator, Iterator, Sequence
from typing import BinaryIO, cast

import numpy as np
import soundfile

from transforms.audio.decode import BLOCK_SAMPLES, MIN_SEEK_S
from transforms.audio.sound_file import open_audio
from transforms.corpus.archives.member import AUDIO_SUFFIXES
from transforms.corpus.archives.reading import archive_kind_of, members
from transforms.curation.exporting.encoding import dtype_of, encode
from transforms.curation.exporting.target import AudioTarget, Row
from transforms.decoders.sound import Sound, open_sound
from transforms.elements import AudioRef, printable
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.files import is_local, literally, look_at, match
from transforms.storage.source_versions import is_same_version, version_of_file

_SUFFIX_BY_FORMAT = {
    "ADTS": "aac",
    "ASF": "wma",
    "MATROSKA": "mka",
    "MPEG_PS": "mpg",
    "MPEG_TS": "ts",
    "WAVEX": "wav",
}
# Larger segments are buffered on disk.
_IN_MEMORY_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Segment:
    """The encoded audio of an utterance.

    Attributes:
        suffix: suffix of the file name, without the dot.
        content: file with the bytes, at its start.
        is_limited: whether it is quieter than the target loudness, to keep its true peak low.
    """

    suffix: str
    content: BinaryIO
    is_limited: bool = False


def segments(rows: Sequence[Row], target: AudioTarget) -> Iterator[tuple[Row, Segment | AudioFault]]:
    """Reads the audio of some rows of a plan. A segment is closed when the next one is requested.

    Args:
        rows: rows of one chunk, in its order.
        target: audio to write.

    Yields:
        Each row once, with its audio or a fault.
    """
    for (archive, uri), group in itertools.groupby(rows, lambda row: (row["archive"], row["archive"] or row["uri"])):
        of_file = list(group)
        try:
            _check_version(uri, of_file[0]["source_version"])
        except AudioFault as fault:
            yield from ((row, fault) for row in of_file)
            continue
        yield from _from_archive(archive, of_file, target) if archive else _from_file(uri, of_file, target)


def _check_version(uri: str, version: str) -> None:
    """Checks that a file is the one that was scored.

    Raises:
        AudioFault: the file was changed or deleted.
    """
    try:
        file = look_at(uri) if is_local(uri) else next(match(literally(uri)), None)
    except OSError as error:
        raise AudioFault(Stage.EXPORT, Reason.UNREADABLE, str(error)) from error
    if file is None or not file.is_there:
        raise AudioFault(Stage.EXPORT, Reason.UNREADABLE, "the recording was deleted after it was scored")
    if not is_same_version(version_of_file(version), file.source_version):
        detail = "the recording has changed since it was scored; score the corpus again"
        raise AudioFault(Stage.EXPORT, Reason.CHANGED, detail)


def _from_archive(archive: str, rows: Sequence[Row], target: AudioTarget) -> Iterator[tuple[Row, Segment | AudioFault]]:
    by_uri: dict[str, list[Row]] = {}
    for row in rows:
        by_uri.setdefault(row["uri"], []).append(row)
    kind = archive_kind_of(archive)
    missing = AudioFault(Stage.EXPORT, Reason.UNREADABLE, "the recording is no longer in the archive")
    entries = cast(Generator, members(AudioRef("", archive, 0, "", archive=kind)))
    with contextlib.closing(entries):
        for ref, content in entries:
            if isinstance(content, AudioFault):
                if ref.uri == archive:
                    missing = content
                else:
                    yield from ((row, content) for row in by_uri.pop(printable(ref.uri), ()))
            elif of_member := by_uri.pop(printable(ref.uri), None):
                yield from _from_recording(content, ref.uri, of_member, target)
            if not by_uri:
                break
    yield from ((row, missing) for row in itertools.chain.from_iterable(by_uri.values()))


def _from_file(uri: str, rows: Sequence[Row], target: AudioTarget) -> Iterator[tuple[Row, Segment | AudioFault]]:
    done = 0
    try:
        with open_audio(uri) as file:
            for row, segment in _from_recording(file, uri, rows, target):
                done += 1
                yield row, segment
    except AudioFault as fault:
        yield from ((row, fault) for row in rows[done:])


def _from_recording(
    file: BinaryIO, name: str, rows: Sequence[Row], target: AudioTarget
) -> Iterator[tuple[Row, Segment | AudioFault]]:
    """Reads the audio of rows of one recording, in the order of their starts."""
    sound: Sound | None = None
    position = 0
    try:
        for row in rows:
            try:
                is_copied = row["whole"] and not _selects_channel(row) and target.copies(row)
                if not is_copied:
                    if sound is None or row["first_sample"] < position:
                        file.seek(0)
                        sound, position = open_sound(file), 0
                    is_copied = target.copies(row) and _covers_recording(row, sound)
                with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spooled:
                    content = cast(BinaryIO, spooled)
                    if is_copied or sound is None:
                        sound = None
                        segment = _copy(file, suffix_of(name, row["format"]), content)
                    else:
                        segment = _cut(sound, position, row, target, content)
                        position = row["first_sample"] + row["samples"]
                    yield row, segment
            except AudioFault as fault:
                sound = None
                yield row, fault
    finally:
        if sound is not None:
            sound.close()


def _selects_channel(row: Row) -> bool:
    """Whether the row is one channel of a recording with several."""
    return row["channel"] is not None and row["channels"] > 1


def _covers_recording(row: Row, sound: Sound) -> bool:
    """Whether a span covers the whole recording; False if the format states no length."""
    return not row["first_sample"] and row["samples"] == sound.frames and not _selects_channel(row)


def suffix_of(name: str, format: str) -> str:
    """Returns the suffix for a copy of a recording: its own if that is an audio suffix, else that of its format."""
    suffix = name.rpartition("/")[2].rpartition(".")[2].lower()
    kind = format.partition("/")[0]
    return suffix if suffix in AUDIO_SUFFIXES else _SUFFIX_BY_FORMAT.get(kind, kind.lower())


def _copy(file: BinaryIO, suffix: str, content: BinaryIO) -> Segment:
    """Copies all bytes of a recording.

    Raises:
        AudioFault: the recording cannot be read.
    """
    file.seek(0)
    while block := _read(file):
        content.write(block)
    content.seek(0)
    return Segment(suffix, content)


def _read(file: BinaryIO) -> bytes:
    try:
        return file.read(_BLOCK_BYTES)
    except OSError as error:
        raise AudioFault(Stage.EXPORT, Reason.UNREADABLE, str(error)) from error


def _cut(sound: Sound, position: int, row: Row, target: AudioTarget, content: BinaryIO) -> Segment:
    """Encodes a span of a recording, or all of it.

    Args:
        sound: the recording.
        position: index of the next sample that `sound` reads, at most the first sample of the span.
        row: row of a plan with the span and the channel.
        target: audio to write.
        content: file to write to.

    Raises:
        AudioFault: the recording is truncated or corrupt.
    """
    try:
        blocks = _blocks(sound, position, row, dtype_of(sound, row, target))
        encoded = encode(sound, blocks, row, target, content)
    except soundfile.LibsndfileError as error:
        raise AudioFault(Stage.EXPORT, Reason.CORRUPT, str(error)) from error
    content.seek(0)
    return Segment(encoded.container, content, encoded.is_limited)


def _blocks(sound: Sound, position: int, row: Row, dtype: str) -> Iterator[np.ndarray]:
    """Yields the samples of a span, of the scored channel or of all: [n, channels].

    Raises:
        AudioFault: the recording is truncated or corrupt.
    """
    first, remaining = row["first_sample"], row["samples"]
    block = max(1, BLOCK_SAMPLES // sound.channels)
    if sound.is_seekable and first > position + MIN_SEEK_S * sound.samplerate:
        position = sound.seek_to(first)
    while position < first:
        skipped = sound.read_block(min(block, first - position), dtype)
        if not len(skipped):
            break
        position += len(skipped)
    while remaining:
        samples = sound.read_block(min(block, remaining), dtype)
        if not len(samples):
            detail = f"{remaining} of the {row['samples']} samples from sample {first} on are missing"
            raise AudioFault(Stage.EXPORT, Reason.TRUNCATED, detail)
        yield samples if row["channel"] is None else samples[:, row["channel"], np.newaxis]
        remaining -= len(samples)
