"""Signal facts: properties of a recording that need no model, measured in one pass and in bounded memory."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft

from model.features import frame_power, gated_level
from transforms.elements import SignalFacts

# Lowest level in dBFS. The quantisation noise of 16 bits is near -101 dBFS.
FLOOR_DB = -120.0
# Samples at or above this value are at full scale in 16 bits.
FULL_SCALE = 1.0 - 2.0**-15
# Shortest run of equal extreme samples that counts as clipping.
PLATEAU_RUN = 3
SILENCE_BELOW_DB = 40.0
BANDWIDTH_BELOW_DB = 60.0
WINDOW_S = 0.032


def decibels(ratio: float) -> float:
    """Returns 10 log10 of a power ratio, at least `FLOOR_DB`."""
    return max(FLOOR_DB, 10 * math.log10(ratio)) if ratio > 0 else FLOOR_DB


def frame_levels_db(samples: np.ndarray) -> np.ndarray:
    """Returns the level of each frame of samples [n] at 16 kHz in dBFS, at least `FLOOR_DB`: float64 [T]."""
    return 10 * np.log10(np.maximum(frame_power(samples), 10 ** (FLOOR_DB / 10)))


def dynamic_range_db(samples: np.ndarray) -> float:
    """Returns the 95th minus the 10th percentile of the frame levels in dB: the distance from pauses to speech.

    It decides whether speech can be a reference, because PESQ of a noisy recording against itself is perfect.

    Args:
        samples: mono samples at 16 kHz, at least one frame: float [n].
    """
    low, high = np.percentile(frame_levels_db(samples), [10, 95])
    return float(high - low)


def silence_ratio(power: np.ndarray) -> float:
    """Returns the share of frames more than 40 dB below the gated level of the recording.

    Args:
        power: mean square of each frame (`model.features.frame_power`): float64 [T].
    """
    return float(np.mean(power < gated_level(power) ** 2 * 10 ** (-SILENCE_BELOW_DB / 10)))


def snr_estimate_db(power: np.ndarray) -> float | None:
    """Estimates the speech-to-noise ratio from the levels of the frames.

    The noise power is the 10th percentile of the frame powers, as in minimum statistics (Martin, IEEE Trans. Speech Audio
    Proc. 9(5), 2001, without its bias compensation). The speech power is the gated power minus the noise power. The estimate
    assumes pauses in the speech and a constant noise, and is meant for sorting.

    Args:
        power: mean square of each frame: float64 [T].

    Returns:
        Ratio in dB, -20 to 100; None if a tenth of the frames is digital silence, from which no noise can be estimated.
    """
    noise = float(np.percentile(power, 10)) if len(power) else 0.0
    if noise <= 10 ** (FLOOR_DB / 10):
        return None
    speech = max(gated_level(power) ** 2 - noise, 0.0)
    return float(np.clip(decibels(speech / noise), -20.0, 100.0))


class FactsMeter:
    """Measures, block by block, the facts of the decoded channels at the recording's own rate.

    - peak: largest absolute sample, in dB of full scale.
    - RMS: root mean square of all samples, in dB of full scale.
    - clipped ratio: share of samples at full scale (16 bits), or in a run of at least 3 samples of one channel that equal the
      maximum or minimum of the recording. Clipping leaves such plateaus, also below full scale if the gain was reduced later.
    - DC offset: mean of all samples.
    - bandwidth: highest frequency whose power, averaged over adjacent Hann windows of 32 ms, is less than 60 dB below that of
      the strongest frequency.

    Args:
        sample_rate: sampling rate of the recording in Hz.
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
        """Adds the next samples: float32 [n, channels]."""
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
        """Whether all samples are equal, before resampling, which adds ripples at the ends of a constant."""
        return self._high.value == -self._low.value

    def facts(self, power: np.ndarray) -> SignalFacts:
        """Returns all facts.

        Args:
            power: mean square of each frame of the decoded signal, mono at 16 kHz: float64 [T].
        """
        peak = max(self._high.value, self._low.value, 0.0)
        plateaus = sum(side.count for side in (self._high, self._low) if 0.0 < side.value < FULL_SCALE)
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
    """The extreme sample on one side so far, and the runs of samples at exactly that value.

    Attributes:
        value: distance of the extreme sample from 0, on its side.
        count: number of samples in runs of at least 3.
    """

    def __init__(self) -> None:
        self.value = -math.inf
        self.count = 0

    def add(self, block: np.ndarray, sample: np.float32, value: float) -> None:
        """Adds a block. A run across two blocks counts as two.

        Args:
            block: samples: float32 [n, channels].
            sample: extreme sample of the block.
            value: its distance from 0, on its side.
        """
        if value < self.value:
            return
        if value > self.value:
            self.value, self.count = value, 0
        for channel in block.T:
            positions = np.flatnonzero(channel == sample)
            if len(positions) >= PLATEAU_RUN:
                starts = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
                runs = np.diff(starts, append=len(positions))
                self.count += int(runs[runs >= PLATEAU_RUN].sum())
