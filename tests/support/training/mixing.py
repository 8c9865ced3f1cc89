"""Mixes speech and noise as a whole."""

from __future__ import annotations

import numpy as np

from transforms.synthesis.mix import Mixture, gain_at, power, set_peak


def mix(speech: np.ndarray, noise: np.ndarray | None, snr_db: float | None, peak_dbfs: float) -> Mixture:
    """Adds noise to all of the speech at an SNR, or none, and sets the peak of the sum."""
    total = speech.astype(np.float64)
    if noise is not None and snr_db is not None:
        total += noise * gain_at(snr_db, power(speech), power(noise))
    return set_peak(speech, total, peak_dbfs)
