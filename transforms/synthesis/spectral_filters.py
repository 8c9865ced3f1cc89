"""Zero-phase filters, which shape the spectrum of a whole recording without a delay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft

from model.features import SAMPLE_RATE

# Zeros after the recording, so that the ringing of a filter does not wrap around to the start.
PADDING = 4_096


def shape_spectrum(samples: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Multiplies the spectrum of a recording.

    Args:
        samples: recording at 16 kHz: float [n].
        gain: function from frequencies in Hz, float64 [k], to real factors [k].

    Returns:
        Filtered recording: float32 [n].
    """
    size = scipy.fft.next_fast_len(len(samples) + PADDING, real=True)
    spectrum = scipy.fft.rfft(samples.astype(np.float32, copy=False), size)
    spectrum *= gain(np.arange(len(spectrum)) * (SAMPLE_RATE / size)).astype(np.float32)
    return scipy.fft.irfft(spectrum, size)[: len(samples)]


def low_pass(frequency: np.ndarray, cutoff_hz: float, order: int) -> np.ndarray:
    """Returns the magnitude of a Butterworth low-pass: -3 dB at the cut-off, then 6 dB an octave per order.

    Args:
        frequency: frequencies in Hz, at least 0: float [k].
        cutoff_hz: cut-off frequency in Hz, over 0.
        order: order of the filter, at least 1.

    Returns:
        Factors from 0 to 1: float [k].
    """
    return 1 / np.sqrt(1 + (frequency / cutoff_hz) ** (2 * order))


def high_pass(frequency: np.ndarray, cutoff_hz: float, order: int) -> np.ndarray:
    """Returns the magnitude of a Butterworth high-pass. Arguments and result are those of `low_pass`."""
    ratio = (frequency / cutoff_hz) ** order
    return ratio / np.sqrt(1 + ratio**2)
