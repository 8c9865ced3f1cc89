"""From the bytes of a recording to the samples that the scorer hears."""

from __future__ import annotations

import dataclasses
import re
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from model.features import FRAME_LENGTH, SAMPLE_RATE
from transforms.facts import FactsMeter
from transforms.records import AudioFault, Reason, SignalFacts, Stage

# Bounds what is in memory at the recording's own rate and channel count.
BLOCK_S = 30
# libsndfile's log of a RIFF file whose size field does not fit the file: "data : 77728 (should be 38842)".
_SHORTER_THAN_STATED = re.compile(r"^data\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)


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
        AudioFault: the file is empty, in no known format, shorter than it says, corrupt, or the sound in it is too
            short, not finite, or silent throughout.
    """
    if not file.read(1):
        raise AudioFault(Stage.DECODE, Reason.EMPTY_FILE, "the file has no bytes")
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, error.error_string) from error
    with sound:
        stated = _SHORTER_THAN_STATED.search(sound.extra_info)
        if stated and int(stated[1]) > int(stated[2]):
            detail = f"the header promises {stated[1]} bytes of samples, the file holds {stated[2]}"
            raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
        samples, meter, read = _mono_16k(sound)
        if read < sound.frames:
            detail = f"the header promises {sound.frames} samples a channel, {read} could be decoded"
            raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
        if len(samples) < FRAME_LENGTH:
            detail = f"{read} samples at {sound.samplerate} Hz are less than one frame of 32 ms"
            raise AudioFault(Stage.DECODE, Reason.TOO_SHORT, detail)
        if samples.min() == samples.max():
            raise AudioFault(Stage.DECODE, Reason.SILENT, f"all samples are {samples[0]:g}")
        return Decoded(
            samples=samples,
            duration_s=read / sound.samplerate,
            sample_rate=sound.samplerate,
            channels=sound.channels,
            format=f"{sound.format}/{sound.subtype}",
            facts=meter.facts(samples),
        )


def _mono_16k(sound: soundfile.SoundFile) -> tuple[np.ndarray, FactsMeter, int]:
    """Reads a whole recording by blocks: its mono 16 kHz samples, its meter, and how many samples a channel there were."""
    meter = FactsMeter(sound.samplerate)
    resampler = None
    if sound.samplerate != SAMPLE_RATE:
        resampler = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 1, dtype="float32")
    parts = []
    read = 0
    last = False
    while not last:
        try:
            block = sound.read(BLOCK_S * sound.samplerate, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioFault(
                Stage.DECODE, Reason.CORRUPT, f"after {read} of {sound.frames} samples: {error.error_string}"
            ) from error
        last = len(block) < BLOCK_S * sound.samplerate
        if not np.isfinite(block).all():
            bad = read + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise AudioFault(Stage.DECODE, Reason.NON_FINITE, f"sample {bad} is NaN or infinite")
        read += len(block)
        meter.add(block)
        mono = block.mean(axis=1) if block.shape[1] > 1 else block[:, 0]
        parts.append(resampler.resample_chunk(mono, last=last) if resampler else mono)
    return np.concatenate(parts), meter, read
