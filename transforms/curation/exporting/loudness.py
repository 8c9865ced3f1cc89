"""The loudness and the true peak of audio (ITU-R BS.1770), and the gain to a target loudness."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import soxr

from transforms.curation.exporting.spool import Spool
from transforms.errors import AudioFault, Reason, Stage

# Channels that BS.1770 has weights for.
MAX_CHANNELS = 5
# True peaks stay below this level. The margin is for the rounding to 16 bits.
PEAK_DBTP = -1.0
_MARGIN_DB = 0.01
# BS.1770 asks for at least 4, with which a peak may be 0.7 dB higher than measured; with 8 it is 0.2 dB.
_OVERSAMPLING = 8
_BLOCK_S, _STEP_S = 0.4, 0.1
# Windows limit the memory; each has this many steps, and all blocks that begin in it.
_WINDOW_STEPS = 600
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
_OFFSET = -0.691


@dataclasses.dataclass(frozen=True)
class Gain:
    """A gain to a target loudness.

    Attributes:
        factor: factor for samples.
        is_limited: whether it is smaller than the target needs, because the true peak would exceed `PEAK_DBTP`.
    """

    factor: float
    is_limited: bool


def gain_to(target_lufs: float, spool: Spool, rate: int, channels: int) -> Gain:
    """Returns the gain that gives samples a loudness. Samples without a loudness, such as silence, keep their level.

    Args:
        target_lufs: integrated loudness in LUFS.
        spool: the samples, float32.
        rate: sampling rate in Hz.
        channels: number of channels.

    Raises:
        AudioFault: there are more than `MAX_CHANNELS` channels.
    """
    if channels > MAX_CHANNELS:
        detail = f"--loudness measures up to {MAX_CHANNELS} channels, and it has {channels}; add --mono"
        raise AudioFault(Stage.EXPORT, Reason.UNSUPPORTED_FORMAT, detail)
    peak = true_peak(spool, rate, channels)
    loudness = integrated_loudness(spool, rate)
    wanted = 1.0 if loudness is None else 10 ** ((target_lufs - loudness) / 20)
    highest = 10 ** ((PEAK_DBTP - _MARGIN_DB) / 20) / peak if peak else math.inf
    return Gain(min(wanted, highest), wanted > highest and loudness is not None)


def integrated_loudness(spool: Spool, rate: int) -> float | None:
    """Returns the integrated loudness in LUFS; None if nothing is louder than the absolute gate.

    `pyloudnorm` measures the blocks of 0.4 s in windows of a minute. Samples that are shorter than 0.4 s are one block.
    """
    import pyloudnorm

    length_s = min(_BLOCK_S, spool.length / rate)
    if spool.length < rate * _BLOCK_S:
        meter = pyloudnorm.Meter(rate, block_size=length_s)
        loudness = float(meter.integrated_loudness(spool.read(0, spool.length).astype(np.float64)))
        return loudness if math.isfinite(loudness) else None
    blocks: list[float] = []
    meter = pyloudnorm.Meter(rate)
    hop, window = round(_WINDOW_STEPS * _STEP_S * rate), round((_WINDOW_STEPS * _STEP_S + _BLOCK_S - _STEP_S) * rate)
    for start in range(0, spool.length, hop):
        samples = spool.read(start, window)
        if len(samples) < rate * _BLOCK_S:
            break
        meter.integrated_loudness(samples.astype(np.float64))
        blocks += meter.blockwise_loudness
    return _gated(np.array(blocks))


def _gated(blocks: np.ndarray) -> float | None:
    """Returns the loudness of the blocks that pass both gates."""
    loud = blocks[blocks >= _ABSOLUTE_GATE]
    if not len(loud):
        return None
    loud = loud[loud > _mean(loud) + _RELATIVE_GATE]
    return _mean(loud)


def _mean(blocks: np.ndarray) -> float:
    return _OFFSET + 10 * math.log10(np.mean(10 ** ((blocks - _OFFSET) / 10)))


def true_peak(spool: Spool, rate: int, channels: int) -> float:
    """Returns the largest absolute value of the samples at eight times their rate; 1.0 is full scale.

    Args:
        spool: the samples, float32.
        rate: sampling rate in Hz.
        channels: number of channels.
    """
    stream = soxr.ResampleStream(rate, _OVERSAMPLING * rate, channels, dtype="float32")
    peak = spool.peak()
    for block in spool.blocks():
        peak = _larger(peak, stream.resample_chunk(block))
    return _larger(peak, stream.resample_chunk(np.empty((0, channels), np.float32), last=True))


def _larger(peak: float, samples: np.ndarray) -> float:
    return max(peak, float(np.abs(samples).max())) if len(samples) else peak
