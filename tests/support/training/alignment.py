"""Measures the delay between two signals."""

from __future__ import annotations

import numpy as np


def delay(reference: np.ndarray, signal: np.ndarray, max_delay: int = 4_000) -> int:
    """Returns by how many samples `signal` lags, from the peak of the cross-correlation."""
    size = 2 * len(reference)
    spectrum = np.fft.rfft(signal, size) * np.conj(np.fft.rfft(reference, size))
    correlation = np.roll(np.fft.irfft(spectrum, size), max_delay)[: 2 * max_delay + 1]
    return int(np.argmax(correlation)) - max_delay
