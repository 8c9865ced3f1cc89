"""Adds disturbing sounds at a level, only where they are loud enough to be heard."""

from __future__ import annotations

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import Degraded, SampleSpan, spans_where
from transforms.synthesis.mix import power

# Samples of a block of 10 ms in which the level of a sound is measured.
BLOCK = round(0.010 * SAMPLE_RATE)
# Blocks that are this far below the loudest block, in dB, are silenced.
FLOOR_DB = -35.0
# Parts of a sound that are at most 50 ms apart are one span.
GAP = round(0.050 * SAMPLE_RATE)
# Samples of the fades at the ends of a span.
FADE = round(0.005 * SAMPLE_RATE)


def add_sound(samples: np.ndarray, sound: np.ndarray, snr_db: float) -> Degraded:
    """Adds a sound to a recording.

    Args:
        samples: recording: float [n].
        sound: sound of any level: float [n].
        snr_db: mean power of the recording over that of the sound in its spans, in dB.

    Returns:
        The sum, and the parts in which the sound is at most 35 dB below its loudest part. Elsewhere nothing is added.
    """
    spans = loud_parts(sound)
    audible = np.zeros(len(sound), np.float32)
    for start, end in spans:
        from_start = np.arange(1, end - start + 1)
        fade = np.minimum(np.minimum(from_start, from_start[::-1]) / FADE, 1.0)
        audible[start:end] = sound[start:end] * fade
    sounding = sum(end - start for start, end in spans)
    if not sounding:
        return Degraded(samples.astype(np.float32), ())
    sound_power = power(audible) * len(audible) / sounding
    gain = np.sqrt(power(samples) / sound_power / 10 ** (snr_db / 10))
    return Degraded(samples.astype(np.float32) + np.float32(gain) * audible, spans)


def loud_parts(sound: np.ndarray) -> tuple[SampleSpan, ...]:
    """Returns the parts of a sound [n] that are at most 35 dB below its loudest block."""
    powers = block_powers(sound, BLOCK)
    loud = powers > powers.max(initial=0.0) * 10 ** (FLOOR_DB / 10)
    return spans_where(np.repeat(loud, BLOCK)[: len(sound)], GAP)


def block_powers(samples: np.ndarray, block: int) -> np.ndarray:
    """Returns the mean power of each block of samples [n]: float32 [m]. Zeros fill the last block."""
    count = -(-len(samples) // block)
    blocks = np.zeros(count * block, np.float32)
    blocks[: len(samples)] = samples
    return np.square(blocks.reshape(count, block)).mean(axis=1)
