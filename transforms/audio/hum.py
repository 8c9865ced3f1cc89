"""Level of steady mains hum: 50 or 60 Hz and its harmonics."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import scipy.fft

from transforms.audio.waveform import mean_of_channels

# Rate of the signal in which hum is sought; the recording's rate is divided by a whole number near that.
HUM_RATE = 1_000
# Length of a window: lines are 1 Hz apart. Adjacent windows overlap by half.
WINDOW_S = 1.0
# Hum is steady, so every second period of this length is enough.
PERIOD_S = 4.0
# Fewest windows, about 2 s, in which a line counts as steady.
MIN_WINDOWS = 3
MAINS_HZ = (50.0, 60.0)
HARMONICS = 6
# Share by which the mains frequency may be off.
TOLERANCE = 0.006
# Distances from a line, in bins, of the neighbours that it must exceed.
_NEAREST, _FARTHEST = 4, 14
_NEIGHBOURS = np.r_[-_FARTHEST:-_NEAREST, _NEAREST + 1 : _FARTHEST + 1]
# Decibels by which a steady line exceeds its neighbours, for the fundamental and for harmonics. Voices have no steady 50 Hz.
FUNDAMENTAL_DB, HARMONIC_DB = 10.0, 12.0
# Largest decibels between the 30th and the 70th percentile of a steady line's power.
STEADY_DB = 6.0
# Smallest power of a line relative to the strongest bin.
WEAKEST_LINE = 1e-7
# Most windows whose spectrum is kept. In a longer recording, every second, fourth, ... window is kept.
MAX_WINDOWS = 512
_FIR_LENGTH = 48
_STAGES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Hum:
    """Steady mains hum of a recording.

    Attributes:
        rms: RMS of the hum on the scale of the samples; 0.0 without hum.
        mains_hz: nominal frequency, 50.0 or 60.0; None without hum.
    """

    rms: float
    mains_hz: float | None

    @property
    def hum_db(self) -> float | None:
        """RMS of the hum in dB of full scale; None without hum."""
        return 20 * math.log10(self.rms) if self.rms > 0 else None


class HumMeter:
    """Measures hum block by block, on the mean of the channels.

    A line of hum exceeds its neighbours in most windows of 1 s, with nearly the same power. The pitch of a voice moves.

    Args:
        sample_rate: sampling rate of the recording in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._filters = _filters(sample_rate)
        self._first, self._window = self._filters.first, self._filters.window
        self._taps, self._num_bins = self._filters.taps, self._filters.num_bins
        self._size = len(self._window)
        self._rest = np.empty(0, np.float32)
        self._fast = np.empty(0, np.float32)
        self._slow = np.empty(0, np.float32)
        self._spectra: list[np.ndarray] = []
        self._every, self._num_windows = 1, 0
        self._period, self._num_samples = round(PERIOD_S * sample_rate), 0

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        block = self._measured_part(block)
        mono = mean_of_channels(block)
        mono = np.concatenate([self._rest, mono]) if len(self._rest) else mono
        parts = mono[: len(mono) // self._first * self._first].reshape(-1, self._first)
        self._rest = mono[parts.size :].copy()
        fast = parts @ np.full(self._first, 1 / self._first, np.float32)
        self._fast = np.concatenate([self._fast, fast])
        groups = self._fast[: len(self._fast) // _STAGES * _STAGES].reshape(-1, _STAGES)
        num_taps = _FIR_LENGTH // _STAGES
        count = len(groups) - num_taps + 1
        if count < 1:
            return
        products = self._taps.reshape(num_taps, _STAGES) @ groups.T
        filtered = np.zeros(count, np.float32)
        for tap in range(num_taps):
            filtered += products[tap, tap : tap + count]
        self._fast = self._fast[count * _STAGES :]
        self._slow = np.concatenate([self._slow, filtered])
        if len(self._slow) >= self._size:
            hop = self._size // 2
            starts = range(0, len(self._slow) - self._size + 1, hop)
            windows = np.stack([self._slow[start : start + self._size] for start in starts])
            self._slow = self._slow[len(windows) * hop :]
            self._add(windows)

    def _measured_part(self, block: np.ndarray) -> np.ndarray:
        """Returns the samples of a block in every second period of `PERIOD_S`: float32 [n, channels]."""
        periods = (self._num_samples + np.arange(0, len(block) + self._period, self._period)) // self._period
        start, self._num_samples = self._num_samples, self._num_samples + len(block)
        parts = [
            block[max(period * self._period - start, 0) : max((period + 1) * self._period - start, 0)]
            for period in periods.tolist()
            if period % 2 == 0
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [block[:0]])

    def _add(self, windows: np.ndarray) -> None:
        windows = windows - windows.mean(axis=1, keepdims=True)
        # Digital silence has no hum. It may be padding.
        windows = windows[windows.any(axis=1)]
        skip = -self._num_windows % self._every
        self._num_windows += len(windows)
        windows = windows[skip :: self._every]
        if not len(windows):
            return
        spectrum = scipy.fft.rfft(windows * self._window, axis=1)[:, : self._num_bins]
        self._spectra += list(np.square(spectrum.real) + np.square(spectrum.imag))
        while len(self._spectra) > MAX_WINDOWS:
            self._spectra = self._spectra[::2]
            self._every *= 2

    def result(self) -> Hum:
        """Returns the hum of all blocks so far."""
        none = Hum(0.0, None)
        if len(self._spectra) < MIN_WINDOWS:
            return none
        spectra = np.array(self._spectra, np.float64) + np.finfo(np.float32).tiny
        spectra.sort(axis=0)
        low, middle, high = spectra[[round(share * (len(spectra) - 1)) for share in (0.3, 0.5, 0.7)]]
        powers = self._hum_powers(low, middle, high)
        strongest = int(np.argmax(powers))
        return Hum(math.sqrt(powers[strongest]), MAINS_HZ[strongest]) if powers[strongest] > 0 else none

    def _hum_powers(self, low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Returns the mean square of the hum at each mains frequency; 0.0 without steady lines.

        Args:
            low: 30th percentile of the power of each bin over the windows: float64 [bins].
            middle: median.
            high: 70th percentile.
        """
        filters = self._filters
        if not len(filters.bins):
            return np.zeros(len(MAINS_HZ))
        peak = filters.bins[np.arange(len(filters.bins)), np.argmax(middle[filters.bins], axis=1)]
        around = np.sort(middle[peak[:, np.newaxis] + _NEIGHBOURS], axis=1)
        background = around[:, len(_NEIGHBOURS) // 2 - 1 : len(_NEIGHBOURS) // 2 + 1].mean(axis=1)
        excess_db = np.where(filters.harmonic == 1, FUNDAMENTAL_DB, HARMONIC_DB)
        # The skirt of another tone falls across the bin, and rounding errors have lines, too.
        is_line = middle[peak] >= np.maximum(around[:, -1], WEAKEST_LINE * middle.max())
        is_line &= high[peak] <= low[peak] * 10 ** (STEADY_DB / 10)
        is_line &= middle[peak] >= background * 10 ** (excess_db / 10)
        power = middle[peak[:, np.newaxis] + np.arange(-2, 3)].sum(axis=1) * is_line
        sums = np.zeros(len(MAINS_HZ))
        for number, mains in enumerate(MAINS_HZ):
            own = filters.mains == mains
            # Without the fundamental, which loudspeakers and filters remove, two harmonics are needed.
            if (is_line & own & (filters.harmonic == 1)).any() or np.count_nonzero(is_line & own) >= 2:
                sums[number] = power[own].sum()
        return 2 * sums / (self._size * filters.window_energy)


@dataclasses.dataclass(frozen=True, eq=False)
class _Filters:
    """Constants of the meter at a sampling rate.

    Attributes:
        first: number of samples that are averaged before the filter.
        taps: low-pass filter.
        window: analysis window of 1 s.
        window_energy: sum of its squares.
        num_bins: number of bins that are kept.
        bins: bins in which each line may be: int [lines, bins]; a narrower range repeats its last bin.
        mains: mains frequency of each line in Hz: float [lines].
        harmonic: number of the harmonic of each line, from 1: int [lines].
    """

    first: int
    taps: np.ndarray
    window: np.ndarray
    window_energy: float
    num_bins: int
    bins: np.ndarray
    mains: np.ndarray
    harmonic: np.ndarray


@functools.lru_cache(maxsize=64)
def _filters(sample_rate: int) -> _Filters:
    first = max(1, round(sample_rate / (HUM_RATE * _STAGES)))
    rate = sample_rate / (first * _STAGES)
    size = round(rate * WINDOW_S)
    position = np.arange(_FIR_LENGTH) - (_FIR_LENGTH - 1) / 2
    taps = np.sinc(position / _STAGES) * np.hamming(_FIR_LENGTH)
    num_bins = min(math.ceil(MAINS_HZ[1] * HARMONICS * (1 + TOLERANCE)) + 20, size // 2)
    lines = []
    for mains in MAINS_HZ:
        for harmonic in range(1, HARMONICS + 1):
            center = mains * harmonic * size / rate
            reach = max(1.0, center * TOLERANCE)
            bins = range(math.ceil(center - reach), math.floor(center + reach) + 1)
            if bins.stop + _FARTHEST >= num_bins:
                break
            lines.append((mains, harmonic, bins))
    window = np.hanning(size).astype(np.float32)
    widest = max((len(bins) for _, _, bins in lines), default=0)
    return _Filters(
        first=first,
        taps=(taps / taps.sum()).astype(np.float32),
        window=window,
        window_energy=float(np.square(window, dtype=np.float64).sum()),
        num_bins=num_bins,
        bins=np.array([[min(bins.start + k, bins.stop - 1) for k in range(widest)] for _, _, bins in lines], int),
        mains=np.array([mains for mains, _, _ in lines]),
        harmonic=np.array([harmonic for _, harmonic, _ in lines]),
    )
