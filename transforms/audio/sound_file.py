"""Opens a recording in any filesystem and reads its samples with libsndfile."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import soundfile
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.errors import AudioFault, Reason, Stage

# Range of supported sampling rates in Hz. A header with a rate outside this range is probably damaged.
MIN_RATE, MAX_RATE = 4_000, 384_000
# Programs that write to a pipe do not know the size. They write one of the largest values that the field can hold.
UNKNOWN_LENGTH = 0x7FFF_F000
# Formats and codings in which libsndfile seeks to the exact sample.
_SEEKABLE_FORMATS = ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "W64", "RF64", "NIST", "CAF", "WVE")
_SEEKABLE_CODINGS = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
# libsndfile's log of a data chunk that is larger than the file: "data : 77728 (should be 38842)".
_CHUNK_TOO_LARGE = re.compile(r"^\s*(?:data|riff|SSND|BODY|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_RF64_TOO_LARGE = re.compile(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
# Audio formats that libsndfile does not read: offset of the signature, the signature, and the format's name.
_UNSUPPORTED_SIGNATURES = (
    (4, b"ftyp", "MP4 (M4A, AAC, ALAC)"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, bytes.fromhex("3026b2758e66cf11"), "ASF (WMA)"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"#!AMR", "AMR"),
    (0, b"wvpk", "WavPack"),
    (0, b"\x1f\x8b", "compressed by gzip"),
)


@contextlib.contextmanager
def open_audio(uri: str) -> Iterator[BinaryIO]:
    """Opens the file of a recording in any filesystem that Beam knows.

    Raises:
        AudioFault: the file cannot be opened, or reading it within the `with` block fails.
    """
    try:
        path = Path(uri)
        if FileSystems.get_scheme(uri) is None and not (path.is_file() or path.is_dir()) and path.exists():
            # Opening a FIFO could block forever.
            raise AudioFault(Stage.READ, Reason.NOT_A_FILE, "it is a FIFO, a socket or a device, not a file")
        # Beam would decompress by the file's suffix. A compressed recording is an unsupported format.
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
    except OSError as error:  # Beam's own errors are OSErrors too
        raise AudioFault(Stage.READ, Reason.UNREADABLE, str(error)) from error


class Sound(soundfile.SoundFile):
    """A sound file that is read once, from start to end.

    `SoundFile.read` seeks after each block where `seekable()` is true. Such a seek damages MP3, whose frames need those
    before them, and FLAC files of unstated length.

    Args:
        file: a seekable file, at its start.

    Raises:
        soundfile.LibsndfileError: libsndfile cannot open the file.
        OSError: the file cannot be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._source = _Source(file)
        try:
            super().__init__(self._source.nameless_file())
        except soundfile.LibsndfileError:
            self._source.raise_error()
            raise

    def seekable(self) -> bool:
        """Returns False, so that `SoundFile.read` never seeks."""
        return False

    def raise_read_error(self) -> None:
        """Raises the first error that reading the file raised, if any."""
        self._source.raise_error()

    def read_block(self, length: int) -> np.ndarray:
        """Reads the next samples: float32 [at most `length`, channels]; fewer only at the end of the file.

        Raises:
            soundfile.LibsndfileError: the sound is damaged.
            OSError: the file cannot be read.
        """
        try:
            return self.read(length, dtype="float32", always_2d=True)
        finally:
            self._source.raise_error()

    def seek_to(self, sample: int) -> int:
        """Seeks to a sample, or to the end if that comes first; returns the new position.

        Raises:
            soundfile.LibsndfileError: libsndfile cannot seek there.
            OSError: the file cannot be read.
        """
        try:
            return int(self.seek(min(sample, self.frames)))
        finally:
            self._source.raise_error()


class _Source:
    """Wraps the file of a sound, and keeps the first error of a read until `raise_error`.

    libsndfile calls these methods from C. An exception there would be printed and dropped, and the file would seem to end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: Exception | None = None

    def nameless_file(self) -> SimpleNamespace:
        """Returns the file without its name, because SoundFile would read `x.raw` as samples without a header."""
        names = ("readinto", "read", "seek", "tell")
        return SimpleNamespace(**{name: self._keep_error(getattr(self._file, name)) for name in names})

    def raise_error(self) -> None:
        """Raises the first error that reading the file raised, if any."""
        if self._error is not None:
            raise self._error

    def _keep_error(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            except Exception as error:  # noqa: BLE001 -- Python would print any exception, and libsndfile would go on
                # A damaged header can make libsndfile seek before the start of the file, which raises one of these.
                is_invalid = isinstance(error, ValueError) or getattr(error, "errno", None) == errno.EINVAL
                if not (is_invalid and method.__name__ == "seek"):
                    self._error = self._error or error
                return 0

        return call


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
    file.seek(0)
    try:
        sound = Sound(file)
    except soundfile.LibsndfileError as error:
        file.seek(0)
        detail = message_of(error) + _describe_format(file.read(16))
        raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, detail) from error
    try:
        sound.raise_read_error()
        if not MIN_RATE <= sound.samplerate <= MAX_RATE:
            detail = f"the header states {sound.samplerate} Hz; {MIN_RATE} to {MAX_RATE} Hz are supported"
            raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_RATE, detail)
        _check_complete(sound.extra_info)
    except BaseException:
        sound.close()
        raise
    return sound


def is_seekable(sound: soundfile.SoundFile) -> bool:
    """Returns whether `seek` goes to the exact sample in this format. In a damaged file it may still fail."""
    return sound.format in _SEEKABLE_FORMATS and sound.subtype in _SEEKABLE_CODINGS


def message_of(error: soundfile.LibsndfileError) -> str:
    """Returns libsndfile's own message."""
    return str(error.error_string).removeprefix("Error : ")


def _check_complete(log: str) -> None:
    """Raises an `AudioFault` if libsndfile's log of the header shows that samples are missing at the end."""
    if (chunk := _CHUNK_TOO_LARGE.search(log)) and int(chunk[2]) < int(chunk[1]) < UNKNOWN_LENGTH:
        detail = f"the header states {chunk[1]} bytes, the file holds {chunk[2]}"
        raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
    if (count := _RF64_TOO_LARGE.search(log)) and int(count[1]) < int(count[2]):
        detail = f"the header states {count[2]} samples per channel, the file holds {count[1]}"
        raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)


def _describe_format(head: bytes) -> str:
    """Returns a sentence that names the format of an unsupported file and the remedy; empty if the format is unknown."""
    for offset, signature, name in _UNSUPPORTED_SIGNATURES:
        if head.startswith(signature, offset):
            return f" It is {name}, which libsndfile does not read; convert it to FLAC, for example with ffmpeg"
    return ""
