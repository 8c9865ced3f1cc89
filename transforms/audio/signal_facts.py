"""Signal facts: what the samples of a recording say without a model, in one pass and in bounded memory."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft

from model.features import frame_power, gated_level
from transforms.elements import SignalFacts

# A level that stands for silence: the quantisation noise of 16 bits is near -101 dBFS.
FLOOR_DB = -120.0
# Samples at or above this are at full scale in 16 bits.
FULL_SCALE = 1.0 - 2.0**-15
PLATEAU_RUN = 3
SILENCE_BELOW_DB = 40.0
BANDWIDTH_BELOW_DB = 60.0
WINDOW_S = 0.032


def decibels(ratio: float) -> float:
    """10 log10 of a power ratio, not below `FLOOR_DB`."""
    return max(FLOOR_DB, 10 * math.log10(ratio)) if ratio > 0 else FLOOR_DB


def frame_levels_db(samples: np.ndarray) -> np.ndarray:
    """Level of each frame in dBFS, not below `FLOOR_DB`: float64 [T] for samples [n] at 16 kHz."""
    return 10 * np.log10(np.maximum(frame_power(samples), 10 ** (FLOOR_DB / 10)))


def dynamic_range_db(samples: np.ndarray) -> float:
    """Level's 95th percentile minus its 10th over the frames, in dB: how far the pauses lie under the speech.

    It decides whether speech can serve as a reference: PESQ of a noisy recording against itself is perfect.

    Args:
        samples: float [n], mono, 16 kHz, at least one frame.
    """
    low, high = np.percentile(frame_levels_db(samples), [10, 95])
    return float(high - low)


def silence_ratio(power: np.ndarray) -> float:
    """Share of the frames whose RMS lies more than 40 dB under the gated level of the recording.

    Args:
        power: mean square of each frame [T], as `model.features.frame_power` gives it.
    """
    return float(np.mean(power < gated_level(power) ** 2 * 10 ** (-SILENCE_BELOW_DB / 10)))


def snr_estimate_db(power: np.ndarray) -> float | None:
    """Speech-to-noise ratio from the spread of the frames' levels.

    The noise's power is taken from the frames at the 10th percentile, as minimum-statistics estimators take it (Martin,
    IEEE Trans. Speech Audio Proc. 9(5), 2001, without its bias compensation); the speech's is the gated power less that. It
    assumes pauses in the speech and a noise that does not change: an estimate to sort by, no measurement.

    Args:
        power: mean square of each frame [T].

    Returns:
        dB within -20 to 100; None where a tenth of the frames is digital silence, which says nothing of noise.
    """
    noise = float(np.percentile(power, 10)) if len(power) else 0.0
    if noise <= 10 ** (FLOOR_DB / 10):
        return None
    speech = max(gated_level(power) ** 2 - noise, 0.0)
    return float(np.clip(decibels(speech / noise), -20.0, 100.0))


class FactsMeter:
    """Gathers the facts that need the recording at its own rate and with all its channels, block by block.

    - peak: the largest absolute sample, in dB of full scale.
    - RMS: the root mean square over all samples, in dB of full scale.
    - clipped ratio: the share of samples at full scale (16 bits), or in a run of at least 3 samples of one channel that all
      equal the recording's own maximum or minimum: clipping leaves plateaus, at full scale or wherever the signal was
      turned down to later.
    - DC offset: the mean over all samples.
    - bandwidth: the highest frequency whose power, averaged over adjoining Hann windows of 32 ms, lies less than 60 dB under
      the strongest frequency's.

    Args:
        sample_rate: of the recording, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._count = 0
        self._sum = 0.0
        self._squares = 0.0
        self._full_scale = 0
        self._high = _Plateau()
        self._low = _Plateau()
        self._window = np.hanning(max(2, round(sample_rate * WINDOW_S))).astype(np.float32)
        self._spectrum = np.zeros(len(self._window) // 2 + 1)

    def add(self, block: np.ndarray) -> None:
        """Takes the next samples, float32 [n, channels]."""
        if not block.size:
            return
        flat = block.reshape(-1)
        self._count += flat.size
        self._sum += float(flat.sum(dtype=np.float64))
        self._squares += float(np.einsum("n,n->", flat, flat, dtype=np.float64))
        high, low = flat.max(), flat.min()
        if max(high, -low) >= FULL_SCALE:
            self._full_scale += int(np.count_nonzero(np.abs(flat) >= FULL_SCALE))
        self._high.add(block, high, float(high))
        self._low.add(block, low, float(-low))
        mono = block.mean(axis=1) if block.shape[1] > 1 else block[:, 0]
        size = len(self._window)
        windows = mono[: len(mono) // size * size].reshape(-1, size)
        if not len(windows):
            windows = np.pad(mono, (0, size - len(mono)))[np.newaxis]
        self._spectrum += np.square(np.abs(scipy.fft.rfft(windows * self._window, axis=-1))).sum(axis=0)

    @property
    def constant(self) -> bool:
        """Whether all samples are the same; resampling puts ripples on the ends of a constant, so ask before it."""
        return self._high.value == -self._low.value

    def facts(self, power: np.ndarray) -> SignalFacts:
        """All the facts; `power` is that of each frame [T] of the same recording as the scorer hears it: mono, 16 kHz."""
        peak = max(self._high.value, self._low.value, 0.0)
        plateaus = sum(p.count for p in (self._high, self._low) if 0.0 < p.value < FULL_SCALE)
        strong = np.flatnonzero(self._spectrum > self._spectrum.max() * 10 ** (-BANDWIDTH_BELOW_DB / 10))
        return SignalFacts(
            peak_dbfs=decibels(peak**2),
            rms_dbfs=decibels(self._squares / max(self._count, 1)),
            clipped_ratio=(self._full_scale + plateaus) / max(self._count, 1),
            silence_ratio=silence_ratio(power),
            dc_offset=self._sum / max(self._count, 1),
            bandwidth_hz=float(strong[-1] * self._rate / len(self._window)) if len(strong) else 0.0,
            snr_db=snr_estimate_db(power),
        )


class _Plateau:
    """The outermost sample so far, on one side, and how many samples lie in runs of at least 3 at exactly that value.

    Attributes:
        value: how far out it lies.
        count: of the samples in such runs.
    """

    def __init__(self) -> None:
        self.value = -math.inf
        self.count = 0

    def add(self, block: np.ndarray, sample: np.float32, value: float) -> None:
        """Takes [n, channels] samples, the outermost of them and how far out it lies; a run across two blocks counts as two."""
        if value < self.value:
            return
        if value > self.value:
            self.value, self.count = value, 0
        for channel in block.T:
            places = np.flatnonzero(channel == sample)
            if len(places) >= PLATEAU_RUN:
                starts = np.flatnonzero(np.diff(places, prepend=-2) != 1)
                runs = np.diff(starts, append=len(places))
                self.count += int(runs[runs >= PLATEAU_RUN].sum())
