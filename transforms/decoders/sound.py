"""Opens the sound in a file with the decoder that reads it: libsndfile, or FFmpeg for what libsndfile does not read."""

from __future__ import annotations

from types import TracebackType
from typing import BinaryIO, Protocol, Self, cast

import numpy as np
import soundfile

from transforms.decoders import media_sound
from transforms.decoders.containers import (
    OGG,
    Container,
    container_of,
    is_chained,
    missing_bytes,
    start_after_tags,
    unfinished_data,
)
from transforms.decoders.libsndfile_sound import LibsndfileSound, message_of
from transforms.decoders.mpeg_frames import MpegFrames
from transforms.decoders.resampled_sound import ResampledSound
from transforms.decoders.source_file import FileAfter, PatchedFile
from transforms.errors import AudioFault, Reason, Stage

# Range of supported sampling rates in Hz. A header with a rate outside this range is probably damaged.
MIN_RATE, MAX_RATE = 4_000, 384_000
# Containers that libsndfile reads, but not with all codings.
_SHARED_CONTAINERS = frozenset({"flac", "ogg", "wav", "aiff", "caf"})
_BLOCK_S = 10
_HEAD_BYTES = 64
# Beginnings of files that take the place of recordings, in lower case, and what to do.
_OTHERS = {
    b"pk\x03\x04": "It is a ZIP archive; unpack it, or pack the recordings into a tar.",
    b"rar!": "It is a RAR archive; unpack it, or pack the recordings into a tar.",
    b"7z\xbc\xaf\x27\x1c": "It is a 7z archive; unpack it, or pack the recordings into a tar.",
    b"\x1f\x8b": "It is compressed with gzip; decompress it.",
    b"version https://git-lfs": "It is a pointer of Git LFS, not the recording; fetch the recording with git lfs pull.",
    b"<!doctype html": "It is a web page, not a recording; download the recording again.",
    b"<html": "It is a web page, not a recording; download the recording again.",
}
# Most samples of delay and padding that a header of MP3 can state.
_MAX_PADDING = 3 * 4_096


class Sound(Protocol):
    """A recording that is read once, from start to end.

    Attributes:
        samplerate: sampling rate in Hz.
        channels: number of channels.
        frames: samples per channel that the format states; None if it states no length.
        format: name of the container.
        subtype: name of the coding.
        bits: bits of samples that are integers; None for floats and lossy codings.
        is_seekable: whether `seek_to` reaches the exact sample.
    """

    samplerate: int
    channels: int
    frames: int | None
    format: str
    subtype: str
    bits: int | None
    is_seekable: bool

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Frees the decoder; the file stays open."""

    def read_block(self, length: int, dtype: str = "float32") -> np.ndarray:
        """Reads the next samples: [at most `length`, channels]; fewer only at the end.

        Args:
            length: samples per channel.
            dtype: "float32", or a type that holds the samples of the recording without loss.

        Raises:
            AudioFault: the recording is damaged.
            OSError: the file cannot be read.
        """

    def seek_to(self, sample: int) -> int:
        """Seeks to a sample, or to the end if that comes first; returns the new position.

        Raises:
            AudioFault: the decoder cannot seek there, because the recording is damaged.
            OSError: the file cannot be read.
        """

    def truncation(self, position: int) -> str | None:
        """Returns why the recording is incomplete if it ends after `position` samples; None if it is complete."""


def open_sound(file: BinaryIO) -> Sound:
    """Opens the sound in a file from its start. The content decides the format, not the name.

    Args:
        file: a seekable file, at any position.

    Raises:
        AudioFault: the file is empty, has an unsupported format or rate, or is shorter than its header states.
        OSError: the file cannot be read.
    """
    file.seek(0)
    if not file.read(1):
        raise AudioFault(Stage.DECODE, Reason.EMPTY_FILE, "the file has no bytes")
    if start := start_after_tags(file):
        file = cast(BinaryIO, FileAfter(file, start))
    sound = _open(file)
    if not MIN_RATE <= sound.samplerate <= MAX_RATE:
        sound.close()
        detail = f"the header states {sound.samplerate} Hz; {MIN_RATE} to {MAX_RATE} Hz are supported"
        raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_RATE, detail)
    return sound


def num_samples(sound: Sound) -> int:
    """Returns the samples per channel of a recording; reads it to its end if its format states no length.

    Raises:
        AudioFault: the recording is damaged.
        OSError: the file cannot be read.
    """
    if sound.frames is not None:
        return sound.frames
    count = 0
    while length := len(sound.read_block(_BLOCK_S * sound.samplerate)):
        count += length
    return count


def _open(file: BinaryIO) -> Sound:
    file.seek(0)
    try:
        sound = LibsndfileSound(file)
    except soundfile.LibsndfileError as error:
        return _open_refused(file, message_of(error))
    if sound.subtype.startswith("MPEG_"):  # in MP3 and WAV
        return _checked_mpeg(file, sound)
    if sound.format == "OGG":
        return _checked_ogg(file, sound)
    if sound.frames == 0 and sound.format in ("WAV", "WAVEX") and (at := unfinished_data(file)) is not None:
        sound.close()
        return LibsndfileSound(cast(BinaryIO, PatchedFile(file, at, b"\xff" * 4)))
    return sound


def _checked_mpeg(file: BinaryIO, sound: LibsndfileSound) -> LibsndfileSound:
    """Returns MPEG audio to read up to its last frame, if no header states its length."""
    position, frames = file.tell(), MpegFrames(file)
    stated = frames.stated_samples()
    # libsndfile leaves out the delay and the padding of the encoder, as the header states them.
    is_stated = stated is not None and sound.frames is not None and 0 <= stated - sound.frames <= _MAX_PADDING
    if is_stated or not frames.is_audio():
        file.seek(position)
        if not is_stated:
            sound.frames = None  # an estimate, as for frames of no stated bit rate ("free format")
        return sound
    sound.close()
    checked = _open_frames(frames)
    checked.format = sound.format
    return checked


def _open_frames(frames: MpegFrames) -> LibsndfileSound:
    try:
        return LibsndfileSound(cast(BinaryIO, frames), frames)
    except soundfile.LibsndfileError as error:
        raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, message_of(error)) from error


def _checked_ogg(file: BinaryIO, sound: LibsndfileSound) -> Sound:
    """Returns an Ogg recording to read up to its end; libsndfile reads only the first stream of a chain.

    Raises:
        AudioFault: the file ends within a page, or is a chain and FFmpeg is missing.
    """
    position = file.tell()
    try:
        if detail := missing_bytes(file, OGG):
            raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
        if not is_chained(file):
            file.seek(position)
            return sound
        if not media_sound.is_installed():
            detail = f"it holds several Ogg streams in a row, which libsndfile does not read; {media_sound.INSTALL} adds them"
            raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, detail)
    except BaseException:
        sound.close()
        raise
    sound.close()
    return _open_media(file, OGG)


def _open_refused(file: BinaryIO, message: str) -> Sound:
    """Opens a file that libsndfile does not read.

    Args:
        file: a seekable file.
        message: libsndfile's message.
    """
    container = container_of(file)
    refusal = AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, message)
    if container is None:
        frames = MpegFrames(file)
        if frames.is_audio():
            return _open_frames(frames)
        if other := _other(file):
            raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, f"{message} {other}")
        raise refusal
    is_shared = container.demuxer in _SHARED_CONTAINERS
    if not media_sound.is_installed():
        raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, f"{message} {_hint(container)}")
    if detail := missing_bytes(file, container):
        raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
    try:
        return _open_media(file, container)
    except AudioFault as fault:
        raise (refusal if is_shared else fault) from fault


def _open_media(file: BinaryIO, container: Container) -> Sound:
    sound = media_sound.MediaSound(file, container)
    is_lower = sound.source_rate < sound.samplerate
    return ResampledSound(sound, sound.source_rate) if is_lower else sound


def _other(file: BinaryIO) -> str:
    """Returns what a file is that is no recording, and what to do; empty if it is unknown."""
    file.seek(0)
    head = file.read(_HEAD_BYTES).lstrip().lower()
    return next((hint for begins, hint in _OTHERS.items() if head.startswith(begins)), "")


def _hint(container: Container) -> str:
    return f"It is {container.title}, which libsndfile does not read; to read it, {media_sound.INSTALL}"
