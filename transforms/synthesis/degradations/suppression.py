"""Artefacts of noise suppression: residual tones, holes in the spectrum and muffled soft sounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import scipy.fft
from scipy.special import exp1

from transforms.synthesis.degradations.base import Degraded, HeardCause, whole
from transforms.synthesis.degradations.rnnoise import denoise, rnnoise_installed

# Samples of a window of 32 ms and of its shift, and the weights of the samples.
WINDOW, SHIFT = 512, 256
WEIGHTS = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
# Share of the frames, the quietest ones, from which the noise is estimated.
QUIET_SHARE = 0.1
# The noise is taken for at least this much weaker than the mean spectrum, in dB. Clean speech is processed, too.
HIGHEST_SNR_DB = 30.0
# Suppression is surely heard if it overestimates the noise by at least the first value in dB, and its lowest gain in dB is at
# most the second. It then costs clean speech at least 0.5 of PESQ's 3.6 points.
SURE_EXCESS_DB, SURE_FLOOR_DB = 3.0, -18.0
# Weight of the frame before in the a-priori SNR, and the lowest a-priori SNR.
SMOOTHING, LOWEST_SNR = 0.98, 10 ** (-25 / 10)

# Method of the network.
RNNOISE = "rnnoise"

# Gains of all frames, float32 [T, 257], from the ratio of their power to that of the noise, float32 [T, 257].
Rule = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class Suppression:
    """Noise suppression that removes too much.

    Attributes:
        method: "subtraction", "wiener" or "log-mmse", or "rnnoise", which needs the optional package `pyrnnoise`.
        excess_db: factor by which the noise is overestimated, in dB of power.
        floor_db: lowest gain, in dB.
    """

    KIND: ClassVar[str] = "suppression"
    method: str
    excess_db: float
    floor_db: float

    @property
    def detail(self) -> str:
        """Method, overestimation and lowest gain."""
        return f"{self.method}, noise overestimated by {self.excess_db:.1f} dB, gain from {self.floor_db:.0f} dB"

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Coding, which in this project stands for all artefacts of coding and processing. Both sound metallic or muffled."""
        is_sure = self.excess_db >= SURE_EXCESS_DB and self.floor_db <= SURE_FLOOR_DB
        return (HeardCause("codec", True if is_sure else None),)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Estimates the noise, from the quietest frames or by the network, and removes it.

        Raises:
            ImportError: the method needs an optional package that is not installed.
        """
        spectra = _spectra(samples)
        powers = _powers(spectra)
        if not powers.any():
            return Degraded(samples.astype(np.float32), ())
        excess = np.float32(10 ** (self.excess_db / 10))
        if self.method == RNNOISE:
            gains = _network_gains(powers, _powers(_spectra(denoise(samples))), excess)
        else:
            gains = RULES[self.method](powers / (_noise(powers) * excess))
        cleaned = scipy.fft.irfft(spectra * np.maximum(gains, np.float32(10 ** (self.floor_db / 20))), WINDOW, axis=1)
        cleaned *= WEIGHTS
        # A window overlaps by half with the next one, and their squares add up to 1.
        count = len(cleaned)
        padded = np.zeros((count + 1) * SHIFT, np.float32)
        padded[:-SHIFT].reshape(count, SHIFT)[:] += cleaned[:, :SHIFT]
        padded[SHIFT:].reshape(count, SHIFT)[:] += cleaned[:, SHIFT:]
        return Degraded(padded[SHIFT : SHIFT + len(samples)], whole(samples))


def _spectra(samples: np.ndarray) -> np.ndarray:
    """Returns the spectra of the windows of samples [n]: complex64 [T, 257]."""
    count = -(-len(samples) // SHIFT) + 1
    padded = np.zeros((count + 1) * SHIFT, np.float32)
    padded[SHIFT : SHIFT + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::SHIFT]
    return np.asarray(scipy.fft.rfft(frames * WEIGHTS, axis=1))


def _powers(spectra: np.ndarray) -> np.ndarray:
    return np.asarray(np.square(spectra.real) + np.square(spectra.imag))


def _network_gains(powers: np.ndarray, cleaned: np.ndarray, excess: np.float32) -> np.ndarray:
    """Returns the gains of a network that overestimates the noise: float32 [T, 257].

    A gain g is that of a Wiener filter for the SNR g / (1 - g), which is divided by the factor.

    Args:
        powers: powers of the recording: float32 [T, 257].
        cleaned: powers of what the network leaves of it: float32 [T, 257].
        excess: factor by which the noise is overestimated, above 0.
    """
    gains = np.sqrt(np.minimum(cleaned / np.maximum(powers, np.float32(1e-20)), 1.0))
    return np.asarray(gains / (gains + (1 - gains) * excess))


def _noise(powers: np.ndarray) -> np.ndarray:
    """Estimates the power of the noise from powers [T, 257] of frames: float32 [257], above 0."""
    loudness = powers.sum(axis=1)
    # Empty frames, as digital silence, say nothing about the noise.
    filled = np.flatnonzero(loudness > loudness.max() * 1e-9)
    quiet = filled[np.argsort(loudness[filled], kind="stable")[: max(1, round(QUIET_SHARE * len(filled)))]]
    mean = powers.mean(axis=0)
    # Bands without any power, as above a band limit, need a positive divisor.
    lowest = np.maximum(mean * np.float32(10 ** (-HIGHEST_SNR_DB / 10)), mean.max() * np.float32(1e-9))
    return np.maximum(powers[quiet].mean(axis=0), lowest)


def subtract(ratios: np.ndarray) -> np.ndarray:
    """Returns the gains of spectral subtraction (Boll, IEEE Trans. ASSP 27(2), 1979; here of powers).

    The remaining random peaks sound like short tones ("musical noise").

    Args:
        ratios: power of each bin over that of the noise: float32 [T, 257].

    Returns:
        Factors from 0 to 1: float32 [T, 257].
    """
    return np.sqrt(np.maximum(1 - 1 / np.maximum(ratios, 1.0), 0.0))


def wiener(ratios: np.ndarray) -> np.ndarray:
    """Returns Wiener gains, with the decision-directed a-priori SNR of Ephraim and Malah (IEEE Trans. ASSP 32(6), 1984).

    Argument and result are those of `subtract`.
    """
    return _decision_directed(ratios, lambda snr, _: snr / (1 + snr))


def log_mmse(ratios: np.ndarray) -> np.ndarray:
    """Returns the gains that minimise the mean square error of the logarithmic amplitude.

    Formula 20 of Ephraim and Malah, IEEE Trans. ASSP 33(2), 1985. Argument and result are those of `subtract`.
    """

    def gain(snr: np.ndarray, ratio: np.ndarray) -> np.ndarray:
        share = snr / (1 + snr)
        return np.minimum(share * np.exp(exp1(np.maximum(share * ratio, 1e-3)) / 2), 1.0)

    return _decision_directed(ratios, gain)


def _decision_directed(ratios: np.ndarray, gain: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Computes gains frame by frame: the a-priori SNR depends on the gain of the frame before.

    Args:
        ratios: a-posteriori SNRs, float32 [T, 257].
        gain: function from the a-priori and the a-posteriori SNRs [257] of a frame to its gains [257].
    """
    gains = np.empty_like(ratios)
    news = (1 - SMOOTHING) * np.maximum(ratios - 1, 0.0)
    before = np.maximum(ratios[0] - 1, 0.0)
    for index, ratio in enumerate(ratios):
        gains[index] = gain(np.maximum(SMOOTHING * before + news[index], LOWEST_SNR), ratio)
        before = np.square(gains[index]) * ratio
    return gains


RULES: dict[str, Rule] = {"subtraction": subtract, "wiener": wiener, "log-mmse": log_mmse}


def methods() -> tuple[str, ...]:
    """Returns the methods that can be used: the rules, and the network if it is installed."""
    return (*RULES, RNNOISE) if rnnoise_installed() else tuple(RULES)
