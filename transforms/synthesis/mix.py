"""Mixes clean speech and noise at a given SNR and peak."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

# Peak of a stored reference, in dB of full scale.
REFERENCE_PEAK_DBFS = -1.0


class MixError(ValueError):
    """Speech or noise is silent, so no SNR is defined."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mixture:
    """A degraded recording and its clean reference, aligned sample by sample.

    Attributes:
        reference: clean speech at its level in the mixture: float32 [n].
        degraded: degraded recording, rounded to 16 bits: float32 [n].
    """

    reference: np.ndarray
    degraded: np.ndarray


def power(samples: np.ndarray) -> float:
    """Returns the mean square of samples [n]."""
    wide = samples.astype(np.float64, copy=False)
    # Not `np.dot`, whose last bit depends on the number of threads.
    return float(np.einsum("n,n->", wide, wide)) / len(wide) if len(wide) else 0.0


def fit_length(noise: np.ndarray, length: int, offset: int) -> np.ndarray:
    """Returns samples of a noise, which is repeated if it is too short.

    Args:
        noise: noise: float [m], m >= 1.
        length: number of samples to return.
        offset: first of these samples, at least 0.
    """
    if offset + length <= len(noise):
        return noise[offset : offset + length]
    return np.take(noise, np.arange(offset, offset + length), mode="wrap")


def blend(noises: list[np.ndarray], levels_db: list[float]) -> np.ndarray:
    """Adds up noises at relative levels.

    Args:
        noises: noises of equal length: float [n].
        levels_db: power of each in dB, relative to the others.

    Returns:
        Sum of the noises: float64 [n].

    Raises:
        MixError: a noise is silent.
    """
    powers = [power(noise) for noise in noises]
    if min(powers) <= 0.0:
        raise MixError("a noise is silent in the drawn segment")
    return sum(
        (
            noise * np.sqrt(10 ** (level / 10) / noise_power)
            for noise, level, noise_power in zip(noises, levels_db, powers, strict=True)
        ),
        start=np.zeros(len(noises[0])),
    )


def gain_at(snr_db: float, speech_power: float, sound_power: float) -> np.float32:
    """Returns the factor for the samples of a sound with which the speech has an SNR.

    Args:
        snr_db: SNR in dB: 10 log10 of the power of the speech over that of the scaled sound.
        speech_power: mean square of the speech.
        sound_power: mean square of the sound.

    Raises:
        MixError: one of the powers is 0.
    """
    if min(speech_power, sound_power) <= 0.0:
        raise MixError("the speech or a sound added to it is silent, so the SNR is undefined")
    return np.float32(math.sqrt(speech_power / sound_power / 10 ** (snr_db / 10)))


def set_peak(reference: np.ndarray, degraded: np.ndarray, peak_dbfs: float) -> Mixture:
    """Sets the peak of a degraded recording, and rounds it to 16 bits, so that labels describe the stored samples.

    Args:
        reference: clean speech, which gets the same gain: float [n].
        degraded: degraded speech: float [n].
        peak_dbfs: largest absolute sample of the result, in dB of full scale, at most 0.

    Raises:
        MixError: reference or degraded speech is silent.
    """
    peak = float(np.abs(degraded).max(initial=0.0))
    if peak <= 0.0 or not np.any(reference):
        raise MixError("the speech is silent")
    gain = 10 ** (peak_dbfs / 20) / peak
    return Mixture((reference * gain).astype(np.float32), _round(degraded * gain))


def stored_reference(mixture: Mixture) -> np.ndarray:
    """Returns the reference at a peak of -1 dBFS, rounded to 16 bits: float32 [n].

    At its level in the mixture, the reference could exceed full scale (if the degraded signal is clipped) or vanish in the
    rounding (if it is far below the noise). PESQ does not depend on its level.
    """
    gain = 10 ** (REFERENCE_PEAK_DBFS / 20) / float(np.abs(mixture.reference).max())
    return _round(mixture.reference.astype(np.float64) * gain)


def _round(samples: np.ndarray) -> np.ndarray:
    """Rounds samples to 16 bits: float32."""
    return (np.clip(np.round(samples * 32768), -32768, 32767) / 32768).astype(np.float32)
