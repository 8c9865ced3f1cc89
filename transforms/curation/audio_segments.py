"""From a recording to what is kept of it: as it is where all is kept, or cut out of it to the sample."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import tempfile
from collections.abc import Generator, Iterator, Sequence
from typing import BinaryIO, cast

import soundfile

from transforms.audio.decode import BLOCK_SAMPLES, MIN_SEEK_S
from transforms.audio.sound_file import is_seekable, open_audio, open_sound
from transforms.corpus.archive_member import AUDIO_SUFFIXES
from transforms.corpus.archives import PARQUET_SUFFIX, members
from transforms.curation.export_plan import Row
from transforms.elements import ArchiveKind, AudioRef, printable
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.files import is_local, literally, look_at, match, version_of_file

_BY_CONTAINER = {"MPEG": "mp3", "WAVEX": "wav", "OGG": "ogg"}
_INTO_16 = re.compile(r"PCM_(16|S8|U8)|ULAW|ALAW|GSM610|ALAC_16|.*ADPCM.*|DPCM_.*|VOX.*|G72.*|DWVW_1[26]|NMS_.*")
_INTO_24 = re.compile(r"PCM_24|ALAC_2[04]|DWVW_24")
_INTO_32 = re.compile(r"PCM_32|ALAC_32")
_FLAC_CHANNELS = 8
_IN_MEMORY_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Segment:
    """The audio of an utterance, encoded.

    Attributes:
        suffix: of its name, without the dot.
        content: the bytes, from their start.
    """

    suffix: str
    content: BinaryIO


def segments(rows: Sequence[Row], container: str) -> Iterator[tuple[Row, Segment | AudioFault]]:
    """The audio of some rows of a plan, each to be used before the next is asked for.

    Args:
        rows: of one chunk, in its order.
        container: "flac" or "wav", for what is cut out of a recording.

    Yields:
        Each row, once, with its audio, or the fault of it.
    """
    for (archive, uri), group in itertools.groupby(rows, lambda row: (row["archive"], row["archive"] or row["uri"])):
        wanted = list(group)
        try:
            _check_version(uri, wanted[0]["source_version"])
        except AudioFault as fault:
            yield from ((row, fault) for row in wanted)
            continue
        yield from _of_archive(archive, wanted, container) if archive else _of_file(uri, wanted, container)


def _check_version(uri: str, version: str) -> None:
    """Refuses a recording that is not what was scored.

    Raises:
        AudioFault: it has changed since, or is gone.
    """
    try:
        file = look_at(uri) if is_local(uri) else next(match(literally(uri)), None)
    except OSError as error:
        raise AudioFault(Stage.EXPORT, Reason.UNREADABLE, str(error)) from error
    if file is None or not file.is_there:
        raise AudioFault(Stage.EXPORT, Reason.UNREADABLE, "it is gone since it was scored")
    if file.source_version != version_of_file(version):
        raise AudioFault(Stage.EXPORT, Reason.CHANGED, "it has changed since it was scored; score the corpus again")


def _of_archive(archive: str, rows: Sequence[Row], container: str) -> Iterator[tuple[Row, Segment | AudioFault]]:
    wanted: dict[str, list[Row]] = {}
    for row in rows:
        wanted.setdefault(row["uri"], []).append(row)
    kind = ArchiveKind.PARQUET if archive.lower().endswith(PARQUET_SUFFIX) else ArchiveKind.TAR
    lost = AudioFault(Stage.EXPORT, Reason.UNREADABLE, "it is not in the archive any more")
    found = cast(Generator, members(AudioRef("", archive, 0, "", archive=kind)))
    with contextlib.closing(found):
        for ref, content in found:
            if isinstance(content, AudioFault):
                if ref.uri == archive:
                    lost = content
                else:
                    yield from ((row, content) for row in wanted.pop(printable(ref.uri), ()))
            elif here := wanted.pop(printable(ref.uri), None):
                yield from _of_sound(content, ref.uri, here, container)
            if not wanted:
                break
    yield from ((row, lost) for row in itertools.chain.from_iterable(wanted.values()))


def _of_file(uri: str, rows: Sequence[Row], container: str) -> Iterator[tuple[Row, Segment | AudioFault]]:
    done = 0
    try:
        with open_audio(uri) as file:
            for found in _of_sound(file, uri, rows, container):
                done += 1
                yield found
    except AudioFault as fault:
        yield from ((row, fault) for row in rows[done:])


def _of_sound(
    file: BinaryIO, name: str, rows: Sequence[Row], container: str
) -> Iterator[tuple[Row, Segment | AudioFault]]:
    """What rows want of one recording, in the order of their starts."""
    sound: soundfile.SoundFile | None = None
    at = 0
    try:
        for row in rows:
            try:
                is_all = row["whole"] and not _one_of_several(row)
                if not is_all:
                    if sound is None or row["first_sample"] < at:
                        file.seek(0)
                        sound, at = open_sound(file), 0
                    is_all = _is_all(row, sound)
                with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spooled:
                    content = cast(BinaryIO, spooled)
                    if is_all or sound is None:
                        sound = None
                        piece = _copied(file, suffix_of(name, row["format"]), content)
                    else:
                        piece = _cut(sound, at, row, container, content)
                        at = row["first_sample"] + row["samples"]
                    yield row, piece
            except AudioFault as fault:
                sound = None
                yield row, fault
    finally:
        if sound is not None:
            sound.close()


def _one_of_several(row: Row) -> bool:
    return row["channel"] is not None and row["channels"] > 1


def _is_all(row: Row, sound: soundfile.SoundFile) -> bool:
    """Whether a span turns out to be all of the recording."""
    return not row["first_sample"] and row["samples"] == sound.frames and not _one_of_several(row)


def suffix_of(name: str, format: str) -> str:
    """A recording's own suffix; where it has none, or one that says nothing of sound, that of its format."""
    suffix = name.rpartition("/")[2].rpartition(".")[2].lower()
    found = format.partition("/")[0]
    return suffix if suffix in AUDIO_SUFFIXES else _BY_CONTAINER.get(found, found.lower())


def _copied(file: BinaryIO, suffix: str, content: BinaryIO) -> Segment:
    """All bytes of a recording.

    Raises:
        AudioFault: they cannot be read.
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


def _cut(sound: soundfile.SoundFile, at: int, row: Row, container: str, content: BinaryIO) -> Segment:
    """Encodes a span of a sound so that no sample changes.

    Args:
        sound: whose next sample is the one numbered `at`.
        at: not beyond the span's first.
        row: what is wanted.
        container: "flac" or "wav".
        content: where to.

    Raises:
        AudioFault: the sound breaks off, or is broken.
    """
    kind, subtype, suffix = _coding(sound.subtype, sound.channels if row["channel"] is None else 1, container)
    first, left = row["first_sample"], row["samples"]
    block = max(1, BLOCK_SAMPLES // sound.channels)
    try:
        if is_seekable(sound) and first > at + MIN_SEEK_S * sound.samplerate:
            at = sound.seek(min(first, sound.frames))
        while at < first and (passed := len(sound.read(min(block, first - at), dtype=kind, always_2d=True))):
            at += passed
        channels = sound.channels if row["channel"] is None else 1
        with soundfile.SoundFile(
            content, "w", sound.samplerate, channels, subtype, format="FLAC" if suffix == "flac" else "WAV"
        ) as out:
            while left:
                samples = sound.read(min(block, left), dtype=kind, always_2d=True)
                if not len(samples):
                    detail = f"{left} of the {row['samples']} samples from {first} on are not there"
                    raise AudioFault(Stage.EXPORT, Reason.TRUNCATED, detail)
                out.write(samples if row["channel"] is None else samples[:, row["channel"]])
                left -= len(samples)
    except soundfile.LibsndfileError as error:
        raise AudioFault(Stage.EXPORT, Reason.CORRUPT, str(error)) from error
    content.seek(0)
    return Segment(suffix, content)


def _coding(subtype: str, channels: int, container: str) -> tuple[str, str, str]:
    """How samples are read, how they are written, and in which container, so that none changes."""
    lossless = "wav" if channels > _FLAC_CHANNELS else container
    if _INTO_16.fullmatch(subtype):
        return "int16", "PCM_16", lossless
    if _INTO_24.fullmatch(subtype):
        return "int32", "PCM_24", lossless
    if _INTO_32.fullmatch(subtype):
        return "int32", "PCM_32", "wav"
    return ("float64", "DOUBLE", "wav") if subtype == "DOUBLE" else ("float32", "FLOAT", "wav")
