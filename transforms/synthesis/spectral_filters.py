"""Zero-phase filters over whole recordings: they shape the spectrum and move nothing in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft

from model.features import SAMPLE_RATE

# Longest ring of a filter that is kept from coming round to the other end.
PADDING = 4_096


def shape_spectrum(samples: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Multiplies the spectrum of a recording.

    Args:
        samples: float [n], 16 kHz.
        gain: from frequencies in Hz, float64 [k], to real factors [k].

    Returns:
        float32 [n].
    """
    size = scipy.fft.next_fast_len(len(samples) + PADDING, real=True)
    spectrum = scipy.fft.rfft(samples.astype(np.float32, copy=False), size)
    spectrum *= gain(np.arange(len(spectrum)) * (SAMPLE_RATE / size)).astype(np.float32)
    return scipy.fft.irfft(spectrum, size)[: len(samples)]


def low_pass(frequency: np.ndarray, cut_hz: float, order: int) -> np.ndarray:
    """Magnitude of a Butterworth low-pass: -3 dB at the cut, then 6 dB an octave for each order."""
    return 1 / np.sqrt(1 + (frequency / cut_hz) ** (2 * order))


def high_pass(frequency: np.ndarray, cut_hz: float, order: int) -> np.ndarray:
    """Magnitude of a Butterworth high-pass."""
    steep = (frequency / cut_hz) ** order
    return steep / np.sqrt(1 + steep**2)
