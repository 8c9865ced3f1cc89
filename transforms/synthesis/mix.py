"""Clean speech and noise become a degraded recording at a known SNR and peak."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

# Peak of a reference that stands alone, in dB of full scale.
REFERENCE_PEAK_DBFS = -1.0


class MixError(ValueError):
    """Speech or noise that has no level to set an SNR by."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mixture:
    """A degraded recording beside its clean reference, aligned sample by sample.

    Attributes:
        reference: float32 [n], the speech alone, at the level that it has in the mixture.
        degraded: float32 [n], what became of it, rounded to 16 bits.
    """

    reference: np.ndarray
    degraded: np.ndarray


def power(samples: np.ndarray) -> float:
    """Mean square of samples [n]."""
    wide = samples.astype(np.float64, copy=False)
    # Not `np.dot`, whose last bit depends on the number of threads.
    return float(np.einsum("n,n->", wide, wide)) / len(wide) if len(wide) else 0.0


def fit_length(noise: np.ndarray, length: int, offset: int) -> np.ndarray:
    """`length` samples of noise [m] from sample `offset` on; a noise that ends before is begun again."""
    if offset + length <= len(noise):
        return noise[offset : offset + length]
    return np.take(noise, np.arange(offset, offset + length), mode="wrap")


def blend(noises: list[np.ndarray], levels_db: list[float]) -> np.ndarray:
    """The sum of several noises, each float [n], brought to levels (dB of power) one to another: float32 [n].

    Raises:
        MixError: one is silent.
    """
    powers = [power(noise) for noise in noises]
    if min(powers) <= 0.0:
        raise MixError("a noise is silent at the place drawn")
    return sum(
        (
            noise * np.sqrt(10 ** (level / 10) / own)
            for noise, level, own in zip(noises, levels_db, powers, strict=True)
        ),
        start=np.zeros(len(noises[0])),
    )


def add_noise(speech: np.ndarray, noise: np.ndarray, snr_db: float, start: int = 0) -> np.ndarray:
    """Adds noise to speech, or to a part of it, at an SNR.

    The SNR is that of the mean powers, the speech's over the whole clip and the noise's over its span:
    10 log10(P_speech / P_noise). The noise begins and ends at once, without fades.

    Args:
        speech: float [n].
        noise: float [m], m + start <= n.
        snr_db: SNR in dB.
        start: sample of the speech at which the noise begins.

    Returns:
        float32 [n].

    Raises:
        MixError: speech or noise is silent.
    """
    speech_power, noise_power = power(speech), power(noise)
    if min(speech_power, noise_power) <= 0.0:
        raise MixError("silent speech or noise has no SNR")
    total = speech.astype(np.float32)  # a copy
    total[start : start + len(noise)] += noise * np.float32(math.sqrt(speech_power / noise_power / 10 ** (snr_db / 10)))
    return total


def set_peak(reference: np.ndarray, degraded: np.ndarray, peak_dbfs: float) -> Mixture:
    """Sets the peak of a degraded recording, and rounds it as a 16-bit file will, so that a label belongs to what is stored.

    Args:
        reference: float [n]; gets the same gain.
        degraded: float [n].
        peak_dbfs: largest absolute sample of the result, in dB of full scale, at most 0.

    Raises:
        MixError: one of them is silent.
    """
    peak = float(np.abs(degraded).max(initial=0.0))
    if peak <= 0.0 or not np.any(reference):
        raise MixError("the speech is silent")
    gain = 10 ** (peak_dbfs / 20) / peak
    return Mixture((reference * gain).astype(np.float32), _round(degraded * gain))


def stored_reference(mixture: Mixture) -> np.ndarray:
    """The reference at a peak of -1 dBFS, rounded to 16 bits: float32 [n].

    At the level that it has in the mixture it might not fit into a file (the degraded signal may be clipped) or might be
    lost in the rounding (it may lie far under noise). PESQ hears no difference.
    """
    gain = 10 ** (REFERENCE_PEAK_DBFS / 20) / float(np.abs(mixture.reference).max())
    return _round(mixture.reference.astype(np.float64) * gain)


def mix(speech: np.ndarray, noise: np.ndarray | None, snr_db: float | None, peak_dbfs: float) -> Mixture:
    """Adds noise to all of the speech at an SNR (none for None), and sets the peak of the sum.

    Raises:
        MixError: speech or noise is silent.
    """
    total = speech if noise is None or snr_db is None else add_noise(speech, noise, snr_db)
    return set_peak(speech, total.astype(np.float64), peak_dbfs)


def _round(samples: np.ndarray) -> np.ndarray:
    """Samples as 16 bits hold them: float32."""
    return (np.clip(np.round(samples * 32768), -32768, 32767) / 32768).astype(np.float32)
