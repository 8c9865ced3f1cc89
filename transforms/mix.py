"""Clean speech and noise become a degraded recording at a known SNR."""

from __future__ import annotations

import dataclasses

import numpy as np


class MixError(ValueError):
    """Speech or noise that has no level to set an SNR by."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mixture:
    """A degraded recording beside its clean reference, aligned sample by sample.

    Attributes:
        reference: float32 [n], the speech alone, at the level that it has in the mixture.
        degraded: float32 [n], speech plus noise, rounded to 16 bits.
    """

    reference: np.ndarray
    degraded: np.ndarray


def power(samples: np.ndarray) -> float:
    """Mean square of samples [n]."""
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


def fit_length(noise: np.ndarray, length: int, offset: int) -> np.ndarray:
    """`length` samples of noise [m] from sample `offset` on; a noise that ends before is begun again."""
    return np.take(noise, np.arange(offset, offset + length), mode="wrap")


def mix(speech: np.ndarray, noise: np.ndarray | None, snr_db: float | None, peak_dbfs: float) -> Mixture:
    """Adds noise to speech at an SNR, and sets the peak of the sum.

    The SNR is that of the mean powers over the whole clip: 10 log10(P_speech / P_noise).

    Args:
        speech: float [n], clean.
        noise: float [n]; None for a clean clip.
        snr_db: SNR in dB; None for a clean clip.
        peak_dbfs: largest absolute sample of the result, in dB of full scale, at most 0.

    Raises:
        MixError: speech or noise is silent.
    """
    speech = speech.astype(np.float64)
    total = speech
    if noise is not None and snr_db is not None:
        speech_power, noise_power = power(speech), power(noise)
        if min(speech_power, noise_power) <= 0.0:
            raise MixError("silent speech or noise has no SNR")
        total = speech + noise * np.sqrt(speech_power / noise_power / 10 ** (snr_db / 10))
    peak = np.abs(total).max(initial=0.0)
    if peak <= 0.0:
        raise MixError("the speech is silent")
    gain = 10 ** (peak_dbfs / 20) / peak
    # As a 16-bit file will hold it, so that the label belongs to what is stored.
    degraded = np.clip(np.round(total * gain * 32768), -32768, 32767) / 32768
    return Mixture((speech * gain).astype(np.float32), degraded.astype(np.float32))
