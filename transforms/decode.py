"""From the bytes of a recording to the samples that the scorer hears."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from model.features import FRAME_LENGTH, SAMPLE_RATE
from transforms.facts import FactsMeter
from transforms.records import AudioFault, Reason, SignalFacts, Stage

# What is in memory at the recording's own rate at a time: so many seconds, or so many samples of all channels together.
BLOCK_S = 30
BLOCK_SAMPLES = 1 << 24
# What headers of speech say; beyond it they are wrong, and a window of 32 ms would be absurd.
MIN_RATE, MAX_RATE = 4_000, 384_000
# libsndfile's log of a chunk of samples that is larger than the file: "data : 77728 (should be 38842)".
_CHUNK_TOO_LARGE = re.compile(r"^\s*(?:data|riff|SSND|BODY|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_RF64_TOO_LARGE = re.compile(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
# Programs that write to a pipe cannot know the size: they state one of the largest that the field holds.
_UNKNOWN_SIZE = 0x7FFF_F000


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """A recording as the scorer hears it, and what it was.

    Attributes:
        samples: float32 [n], mono (mean of the channels), 16 kHz, full scale 1.0, n >= 512.
        duration_s: at the recording's own rate.
        sample_rate: of the recording, in Hz.
        channels: of the recording.
        format: container and coding, as "FLAC/PCM_16".
        facts: of the recording's samples.
    """

    samples: np.ndarray
    duration_s: float
    sample_rate: int
    channels: int
    format: str
    facts: SignalFacts


def read_audio(uri: str) -> Decoded:
    """Opens and decodes the recording at `uri`, in any filesystem that Beam knows.

    Raises:
        AudioFault: it cannot be opened or read, or `decode` refuses it.
    """
    try:
        if (
            FileSystems.get_scheme(uri) is None
            and not (Path(uri).is_file() or Path(uri).is_dir())
            and Path(uri).exists()
        ):
            # Opening it could wait for ever.
            raise AudioFault(Stage.READ, Reason.NOT_A_FILE, "it is a FIFO, a socket or a device")
        # As it is: a compressed recording is a recording that libsndfile does not know.
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return decode(file)
    except OSError as error:  # Beam's own errors are OSErrors too
        raise AudioFault(Stage.READ, Reason.UNREADABLE, str(error)) from error


def decode(file: BinaryIO) -> Decoded:
    """Decodes whatever libsndfile reads, by content, not by name; mixes down and resamples with soxr.

    Args:
        file: seekable.

    Raises:
        AudioFault: the file is empty, in no known format, shorter than it says, or corrupt, or the sound in it is too
            short, not finite, or silent throughout.
    """
    if not file.read(1):
        raise AudioFault(Stage.DECODE, Reason.EMPTY_FILE, "the file has no bytes")
    file.seek(0)
    try:
        sound = _Sound(_without_name(file))
    except soundfile.LibsndfileError as error:
        raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, _message(error)) from error
    with sound:
        if not MIN_RATE <= sound.samplerate <= MAX_RATE:
            detail = f"the header says {sound.samplerate} Hz; speech is expected at {MIN_RATE} to {MAX_RATE} Hz"
            raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_RATE, detail)
        _check_whole(sound.extra_info)
        samples, meter, read = _mono_16k(sound)
        if read < sound.frames < _UNKNOWN_SIZE:
            detail = f"the header promises {sound.frames} samples a channel, {read} could be decoded"
            raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
        if len(samples) < FRAME_LENGTH:
            detail = f"{read} samples at {sound.samplerate} Hz are less than one frame of 32 ms"
            raise AudioFault(Stage.DECODE, Reason.TOO_SHORT, detail)
        if not np.isfinite(samples).all():
            raise AudioFault(Stage.DECODE, Reason.NON_FINITE, "the mean of the channels is beyond what a float holds")
        if meter.constant:
            raise AudioFault(Stage.DECODE, Reason.SILENT, "all samples are the same")
        if samples.min() == samples.max():
            raise AudioFault(Stage.DECODE, Reason.SILENT, "the channels cancel each other")
        return Decoded(
            samples=samples,
            duration_s=read / sound.samplerate,
            sample_rate=sound.samplerate,
            channels=sound.channels,
            format=f"{sound.format}/{sound.subtype}",
            facts=meter.facts(samples),
        )


class _Sound(soundfile.SoundFile):
    """A sound that is read from its start to its end.

    `SoundFile.read` seeks after each block where it can, and a seek breaks MP3 (whose frames need those before them) and
    FLAC files of unstated length.
    """

    def seekable(self) -> bool:
        """No."""
        return False


def _without_name(file: Any) -> SimpleNamespace:
    """The file without its name, from which SoundFile would guess: it takes `x.raw` for samples without a header."""
    return SimpleNamespace(readinto=file.readinto, read=file.read, seek=file.seek, tell=file.tell)


def _check_whole(log: str) -> None:
    """Finds in libsndfile's log of the header whether samples are missing at the end.

    Raises:
        AudioFault: they are.
    """
    if (chunk := _CHUNK_TOO_LARGE.search(log)) and int(chunk[2]) < int(chunk[1]) < _UNKNOWN_SIZE:
        detail = f"the header promises {chunk[1]} bytes, the file holds {chunk[2]}"
        raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
    if (count := _RF64_TOO_LARGE.search(log)) and int(count[1]) < int(count[2]):
        detail = f"the header promises {count[2]} samples a channel, the file holds {count[1]}"
        raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)


def _mono_16k(sound: soundfile.SoundFile) -> tuple[np.ndarray, FactsMeter, int]:
    """Reads a whole recording by blocks.

    Returns:
        Its mono samples at 16 kHz, its meter, and how many samples a channel it has.
    """
    meter = FactsMeter(sound.samplerate)
    resampler = None
    if sound.samplerate != SAMPLE_RATE:
        resampler = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 1, dtype="float32")
    frames = max(1, min(BLOCK_S * sound.samplerate, BLOCK_SAMPLES // sound.channels))
    parts = []
    read = 0
    last = False
    while not last:
        try:
            block = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            detail = f"after {read} of {sound.frames} samples: {_message(error)}"
            raise AudioFault(Stage.DECODE, Reason.CORRUPT, detail) from error
        last = len(block) < frames
        if not np.isfinite(block).all():
            bad = read + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise AudioFault(Stage.DECODE, Reason.NON_FINITE, f"sample {bad} is NaN or infinite")
        read += len(block)
        meter.add(block)
        mono = block.mean(axis=1) if block.shape[1] > 1 else block[:, 0]
        parts.append(resampler.resample_chunk(mono, last=last) if resampler else mono)
    return np.concatenate(parts), meter, read


def _message(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).removeprefix("Error : ")
