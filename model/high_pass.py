"""Removes the DC offset of a signal, which nobody hears and which levels and features would count as sound."""

from __future__ import annotations

import numpy as np
import scipy.signal

from model.features import SAMPLE_RATE

# Corner of the filter in Hz. It lies below speech and below the second bin of a spectrum (31 Hz).
CORNER_HZ = 10.0
# Start of the recording whose mean is the offset before the recording: 100 ms.
START_SAMPLES = SAMPLE_RATE // 10
_NUMERATOR, _DENOMINATOR = (
    np.asarray(side, np.float32) for side in scipy.signal.butter(1, CORNER_HZ, "highpass", fs=SAMPLE_RATE)
)
_STEADY_STATE = np.asarray(scipy.signal.lfilter_zi(_NUMERATOR, _DENOMINATOR), np.float32)


class HighPass:
    """First-order Butterworth high-pass at 10 Hz, which filters a signal at 16 kHz block by block.

    The filter starts in the steady state of the mean of the first 100 ms, so that an offset makes no click. So it keeps the
    first samples back until it has 100 ms of them. Blocks do not change the result.
    """

    def __init__(self) -> None:
        self._start: np.ndarray | None = np.empty(0, np.float32)
        self._state = _STEADY_STATE

    def filter(self, samples: np.ndarray) -> np.ndarray:
        """Returns the next samples without their DC offset, as far as they are known: float32 [n]."""
        if self._start is not None:
            self._start = np.concatenate([self._start, samples])
            return self.end() if len(self._start) >= START_SAMPLES else np.empty(0, np.float32)
        if not len(samples):
            return samples
        filtered, self._state = scipy.signal.lfilter(_NUMERATOR, _DENOMINATOR, samples, zi=self._state)
        return filtered

    def end(self) -> np.ndarray:
        """Returns the samples of a shorter signal that were kept back: float32 [n]. Call it after the last block."""
        start, self._start = self._start, None
        if start is None or not len(start):
            return np.empty(0, np.float32)
        self._state = _STEADY_STATE * start[:START_SAMPLES].mean(dtype=np.float64).astype(np.float32)
        return self.filter(start)


def without_dc(samples: np.ndarray) -> np.ndarray:
    """Returns a whole signal at 16 kHz without its DC offset: float32 [n]."""
    high_pass = HighPass()
    return np.concatenate([high_pass.filter(np.asarray(samples, np.float32)), high_pass.end()])
