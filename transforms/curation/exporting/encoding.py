"""Encodes the samples of an utterance: unchanged, or resampled, mixed and set to a loudness."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from transforms.curation.exporting.loudness import gain_to
from transforms.curation.exporting.spool import Spool
from transforms.curation.exporting.target import AudioTarget, Container, Row
from transforms.decoders.sound import Sound

_MAX_FLAC_CHANNELS = 8
_LOSSLESS_FLOATS = ("FLOAT", "DOUBLE", "PCM_F32", "PCM_F64")


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A written file.

    Attributes:
        container: its format.
        is_limited: whether it is quieter than the target loudness, to keep its true peak low.
    """

    container: Container
    is_limited: bool = False


class _Resolution:
    """Bits that samples need: those that are zero in all samples are not counted.

    Args:
        sound: the recording.
    """

    def __init__(self, sound: Sound) -> None:
        self._is_integer = sound.bits is not None
        self._is_lossy = sound.bits is None and not sound.subtype.upper().startswith(_LOSSLESS_FLOATS)
        self._used, self._float_bits = 0, [16, 24]

    def add(self, samples: np.ndarray) -> None:
        """Adds samples as they were decoded: floats, or int32 of which the highest bits count."""
        if self._is_lossy or not len(samples):
            return
        if samples.dtype == np.int32:
            self._used |= int(np.bitwise_or.reduce(samples, axis=None))
        elif not self._is_integer:
            while self._float_bits and not _is_on_grid(samples, self._float_bits[0]):
                self._float_bits.pop(0)

    @property
    def bits(self) -> int | None:
        """Bits of integers that hold all samples: 16, 24 or 32; None if only floats do. Lossy codings need 16."""
        if not self._is_integer:
            return self._float_bits[0] if self._float_bits else None
        return 16 if not self._used & 0xFFFF else 24 if not self._used & 0xFF else 32


def _is_on_grid(samples: np.ndarray, bits: int) -> bool:
    scaled = samples.astype(np.float64) * 2 ** (bits - 1)
    limit = 2 ** (bits - 1)
    return bool(np.all(scaled == np.rint(scaled)) and scaled.min() >= -limit and scaled.max() < limit)


def encode(sound: Sound, blocks: Iterable[np.ndarray], row: Row, target: AudioTarget, content: BinaryIO) -> Encoded:
    """Writes the samples of an utterance to a file.

    Samples that need 16 or 24 bits are written as integers without a change. Lossy codings are rounded to 16 bits. Changed
    audio has 16 bits if 16 bits held the recording, else 24. Where that would exceed full scale, the file gets a lower level.

    Args:
        sound: the recording.
        blocks: samples of the utterance and its channels, of the type `dtype_of`.
        row: row of a plan.
        target: audio to write.
        content: file to write to.

    Raises:
        AudioFault: the recording is damaged, or its loudness cannot be measured.
        soundfile.LibsndfileError: the samples cannot be written.
    """
    channels = sound.channels if row["channel"] is None else 1
    changes = target.changes(row)
    if not changes and sound.bits is not None and sound.bits <= 16:
        container = _container(target, channels, 16)
        _write(content, sound.samplerate, channels, container, "PCM_16", blocks)
        return Encoded(container)
    resolution = _Resolution(sound)
    is_mixed = target.is_mono and channels > 1
    out_channels = 1 if is_mixed else channels
    dtype = "float32" if changes else dtype_of(sound, row, target)
    with Spool(out_channels, dtype) as spool:
        measured = _measured(blocks, resolution)
        for block in _changed(measured, sound, row, target) if changes else measured:
            spool.add(block)
        bits: int | None = resolution.bits
        if changes:
            bits = 16 if bits == 16 else 24
        bits = bits if target.max_bits is None else target.max_bits
        factor, is_limited = 1.0, False
        if target.loudness_lufs is not None:
            gain = gain_to(target.loudness_lufs, spool, target.rate_of(row), out_channels)
            factor, is_limited = gain.factor, gain.is_limited
        elif changes or (bits is not None and sound.bits is None):
            factor = 1.0 / max(1.0, spool.peak())
        container = _container(target, out_channels, bits)
        samples = (block if factor == 1.0 else block * factor for block in spool.blocks())
        subtype = f"PCM_{bits}" if bits is not None else "DOUBLE" if dtype == "float64" else "FLOAT"
        _write(content, target.rate_of(row), out_channels, container, subtype, samples)
    return Encoded(container, is_limited)


def dtype_of(sound: Sound, row: Row, target: AudioTarget) -> str:
    """Returns the numpy type to decode a recording as: one that holds its samples, or float32 for audio to change."""
    if sound.bits is None:
        return "float64" if sound.subtype == "DOUBLE" and not target.changes(row) else "float32"
    if target.changes(row):
        return "int32" if sound.bits > 16 else "float32"
    return "int16" if sound.bits <= 16 else "int32"


def _container(target: AudioTarget, channels: int, bits: int | None) -> Container:
    return target.container if channels <= _MAX_FLAC_CHANNELS and bits in (16, 24) else "wav"


def _measured(blocks: Iterable[np.ndarray], resolution: _Resolution) -> Iterator[np.ndarray]:
    for block in blocks:
        resolution.add(block)
        yield block


def _changed(blocks: Iterable[np.ndarray], sound: Sound, row: Row, target: AudioTarget) -> Iterator[np.ndarray]:
    """Yields samples as floats, mixed and resampled: float32 [n, channels], as many in all as the target has."""
    rate, channels = target.rate_of(row), 1 if target.is_mono or row["channel"] is not None else sound.channels
    stream = None
    if rate != sound.samplerate:
        stream = soxr.ResampleStream(sound.samplerate, rate, channels, dtype="float32")
    remaining = target.samples_of(row)
    for block in blocks:
        samples = _floats(block)
        if target.is_mono and samples.shape[1] > 1:
            samples = samples.mean(axis=1, keepdims=True, dtype=np.float32)
        if stream is not None:
            samples = stream.resample_chunk(np.ascontiguousarray(samples)).reshape(-1, channels)
        yield samples[:remaining]
        remaining -= len(samples[:remaining])
    if stream is not None:
        rest = stream.resample_chunk(np.empty((0, channels), np.float32), last=True).reshape(-1, channels)[:remaining]
        yield rest
        # The resampler may return one sample less.
        yield np.zeros((remaining - len(rest), channels), np.float32)


def _floats(samples: np.ndarray) -> np.ndarray:
    """Returns decoded samples as float32; 1.0 is full scale."""
    if samples.dtype == np.int32:
        return (samples * 2.0**-31).astype(np.float32)
    return samples.astype(np.float32, copy=False)


def _write(
    content: BinaryIO, rate: int, channels: int, container: Container, subtype: str, blocks: Iterable[np.ndarray]
) -> None:
    with soundfile.SoundFile(content, "w", rate, channels, subtype, format=container.upper()) as out:
        for block in blocks:
            out.write(_integers(block, int(subtype[4:])) if subtype.startswith("PCM_") else block)


def _integers(samples: np.ndarray, bits: int) -> np.ndarray:
    """Returns samples as integers of 16 bits, or of 32 bits of which the highest ones count."""
    if samples.dtype == np.int16:
        return samples
    if samples.dtype == np.int32:
        if bits > 16:
            return samples
        samples = samples * 2.0**-31
    limit = 2.0 ** (bits - 1)
    rounded = np.clip(np.rint(samples.astype(np.float64) * limit), -limit, limit - 1)
    return rounded.astype(np.int16) if bits == 16 else (rounded * 2 ** (32 - bits)).astype(np.int32)
