"""Mixes speech and noise as a whole."""

from __future__ import annotations

import numpy as np

from transforms.synthesis.mix import Mixture, add_noise, set_peak


def mix(speech: np.ndarray, noise: np.ndarray | None, snr_db: float | None, peak_dbfs: float) -> Mixture:
    """Adds noise to all of the speech at an SNR, or none, and sets the peak of the sum."""
    total = speech if noise is None or snr_db is None else add_noise(speech, noise, snr_db)
    return set_peak(speech, total.astype(np.float64), peak_dbfs)
