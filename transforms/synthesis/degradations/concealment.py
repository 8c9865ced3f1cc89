"""Conceals lost parts of a recording, as receivers of telephone calls do."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import SampleSpan

# Samples of a packet of 20 ms.
PACKET = round(0.020 * SAMPLE_RATE)
# Gain from one repetition of a packet to the next.
REPEAT_FADE = 0.7
# A repeated pitch period keeps its level for 10 ms and is silent after 60 ms, and the next packet is cross-faded in over 4 ms
# (ITU-T G.711 Appendix I).
PITCH_HOLD, PITCH_END, PITCH_OVERLAP = (round(seconds * SAMPLE_RATE) for seconds in (0.010, 0.060, 0.004))
# Shortest and longest pitch period: 400 and 50 Hz.
PITCH_PERIODS = (SAMPLE_RATE // 400, SAMPLE_RATE // 50)


class Concealment(enum.StrEnum):
    """The replacement of lost packets."""

    SILENT = "silent"
    REPEATED = "repeated"
    INTERPOLATED = "interpolated"
    PITCH = "pitch periods repeated"


def conceal(samples: np.ndarray, lost: Sequence[SampleSpan], concealment: Concealment) -> np.ndarray:
    """Replaces lost parts.

    Args:
        samples: recording at 16 kHz: float32 [n].
        lost: lost parts, ascending and disjoint; each begins at a multiple of `PACKET`.
        concealment: the replacement. Packets are repeated with a fade; or the packets before and after the part are
            repeated and cross-faded; or the last pitch period is repeated, which also changes the `PITCH_OVERLAP` samples
            after the part. There is nothing to repeat at the start of the recording.

    Returns:
        Recording without the lost samples: float32 [n].
    """
    concealed = samples.astype(np.float32)
    for start, end in lost:
        concealed[start:end] = 0.0
        if concealment is Concealment.REPEATED:
            concealed[start:end] = _repeat(concealed[:start], end - start, REPEAT_FADE)
        elif concealment is Concealment.INTERPOLATED:
            concealed[start:end] = _interpolate(concealed, start, end)
        elif concealment is Concealment.PITCH:
            _extend_pitch(concealed, start, end)
    return concealed


def _repeat(before: np.ndarray, length: int, fade: float) -> np.ndarray:
    """Repeats the last packet, each time with the gain `fade`: float32 [length]."""
    if not len(before):
        return np.zeros(length, np.float32)
    count = -(-length // PACKET)
    gains = np.float32(fade) ** np.arange(1, count + 1, dtype=np.float32)
    return np.outer(gains, before[-PACKET:]).reshape(-1)[:length]


def _interpolate(samples: np.ndarray, start: int, end: int) -> np.ndarray:
    """Cross-fades repetitions of the packets before and after [start, end)."""
    forwards = _repeat(samples[:start], end - start, 1.0)
    after = samples[end : end + PACKET]
    # Going backwards from the next packet, so that its repetitions end where it begins.
    backwards = _repeat(np.pad(after, (0, PACKET - len(after)))[::-1] if len(after) else after, end - start, 1.0)
    share = np.linspace(0.0, 1.0, end - start + 2, dtype=np.float32)[1:-1]
    return (1 - share) * forwards + share * backwards[::-1]


def _extend_pitch(samples: np.ndarray, start: int, end: int) -> None:
    """Fills [start, end) with the last pitch period, which fades, and cross-fades the samples after it."""
    if not start:
        return
    overlap = min(PITCH_OVERLAP, len(samples) - end)
    length = end - start + overlap
    period = _pitch_period(samples[:start])
    repeated = np.resize(samples[start - period : start], length)
    fade = 1 - (np.arange(length, dtype=np.float32) - PITCH_HOLD) / (PITCH_END - PITCH_HOLD)
    repeated = repeated * np.clip(fade, 0.0, 1.0)
    share = np.linspace(1.0, 0.0, overlap + 2, dtype=np.float32)[1:-1]
    samples[start:end] = repeated[: end - start]
    samples[end : end + overlap] = share * repeated[end - start :] + (1 - share) * samples[end : end + overlap]


def _pitch_period(before: np.ndarray) -> int:
    """Returns the lag with the highest normalised correlation between the last packet and the samples [n] before it."""
    shortest, longest = PITCH_PERIODS
    recent = np.pad(before, (max(0, longest + PACKET - len(before)), 0))[-longest - PACKET :].astype(np.float64)
    correlation = np.correlate(recent, recent[-PACKET:], "valid")[: longest - shortest + 1]
    energy = np.convolve(np.square(recent), np.ones(PACKET), "valid")[: longest - shortest + 1]
    normalised = np.divide(correlation, np.sqrt(energy), out=np.zeros_like(energy), where=energy > 0.0)
    return longest - int(np.argmax(normalised))
