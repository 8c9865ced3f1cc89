"""Reads samples with libsndfile."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np
import soundfile

from transforms.decoders.closing import Closing
from transforms.decoders.mpeg_frames import MpegFrames
from transforms.decoders.source_file import SourceFile
from transforms.errors import AudioFault, Reason, Stage

# Programs that write to a pipe do not know the size. They write one of the largest values that the field can hold.
UNKNOWN_LENGTH = 0x7FFF_F000
# Formats and codings in which libsndfile seeks to the exact sample.
_SEEKABLE_FORMATS = ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "W64", "RF64", "NIST", "CAF", "WVE")
_SEEKABLE_CODINGS = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
# libsndfile's log of a data chunk that is larger than the file: "data : 77728 (should be 38842)".
_CHUNK_TOO_LARGE = re.compile(r"^\s*(?:data|riff|SSND|BODY|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_RF64_TOO_LARGE = re.compile(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
# Subtypes whose sample values all fit into 16, 24 or 32 bits.
_BITS = {
    16: re.compile(r"PCM_(16|S8|U8)|ULAW|ALAW|GSM610|ALAC_16|.*ADPCM.*|DPCM_.*|VOX.*|G72.*|DWVW_1[26]|NMS_.*"),
    24: re.compile(r"PCM_24|ALAC_2[04]|DWVW_24"),
    32: re.compile(r"PCM_32|ALAC_32"),
}


class _SequentialFile(soundfile.SoundFile):
    """A sound file that is read once, from start to end.

    `SoundFile.read` seeks after each block where `seekable()` is true. Such a seek damages MP3, whose frames need those
    before them, and FLAC files of unstated length.
    """

    def seekable(self) -> bool:
        """Returns False, so that `SoundFile.read` never seeks."""
        return False


class LibsndfileSound(Closing):
    """A recording that libsndfile reads; see `transforms.decoders.sound.Sound`.

    Args:
        file: a seekable file.
        mpeg: the file again if it holds frames of MPEG audio whose length no header states.

    Raises:
        soundfile.LibsndfileError: libsndfile cannot open the file.
        AudioFault: the file is shorter than its header states.
        OSError: the file cannot be read.
    """

    def __init__(self, file: BinaryIO, mpeg: MpegFrames | None = None) -> None:
        file.seek(0)
        self._source, self._mpeg = SourceFile(file), mpeg
        try:
            self._file = _SequentialFile(self._source.nameless_file())
        except soundfile.LibsndfileError:
            self._source.raise_error()
            raise
        try:
            self._source.raise_error()
            _check_complete(self._file.extra_info)
        except BaseException:
            self.close()
            raise
        self.samplerate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.format: str = self._file.format
        self.subtype: str = self._file.subtype
        is_stated = mpeg is None and self._file.frames < UNKNOWN_LENGTH
        self.frames: int | None = self._file.frames if is_stated else None
        self._position = 0
        # In a damaged file a seek may still fail.
        self.is_seekable = self.format in _SEEKABLE_FORMATS and self.subtype in _SEEKABLE_CODINGS
        self.bits = next((bits for bits, subtypes in _BITS.items() if subtypes.fullmatch(self.subtype)), None)

    def close(self) -> None:
        """Frees the decoder; the file stays open."""
        self._file.close()

    def read_block(self, length: int, dtype: str = "float32") -> np.ndarray:
        """Reads the next samples: [at most `length`, channels]; fewer only at the end of the file.

        Raises:
            AudioFault: the sound is damaged.
            OSError: the file cannot be read.
        """
        if self.frames is not None:
            length = min(length, self.frames - self._position)  # tags after the last frame of FLAC are no sound
        try:
            block = self._file.read(length, dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            self._source.raise_error()
            if self.format == "FLAC" and self._source.is_at_end():
                stated = "" if self.frames is None else f"; the header states {self.frames} samples per channel"
                detail = f"the file does not end with a whole frame{stated}"
                raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail) from error
            raise AudioFault(Stage.DECODE, Reason.CORRUPT, message_of(error)) from error
        finally:
            self._source.raise_error()
        self._position += len(block)
        return block

    def seek_to(self, sample: int) -> int:
        """Seeks to a sample, or to the end if that comes first; returns the new position.

        Raises:
            AudioFault: libsndfile cannot seek there.
            OSError: the file cannot be read.
        """
        try:
            self._position = int(self._file.seek(min(sample, self._file.frames)))
            return self._position
        except soundfile.LibsndfileError as error:
            self._source.raise_error()
            raise AudioFault(Stage.DECODE, Reason.CORRUPT, message_of(error)) from error
        finally:
            self._source.raise_error()

    def truncation(self, position: int) -> str | None:
        """Returns why the recording is incomplete if it ends after `position` samples; None if it is complete."""
        if self._mpeg is not None:
            return self._mpeg.cut
        if self.frames is not None and position < self.frames:
            return f"the header states {self.frames} samples per channel, {position} could be decoded"
        return None


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
