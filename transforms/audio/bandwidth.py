"""Effective bandwidth of a recording and of its windows, from the spectrum at the recording's own rate."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import scipy.fft

from transforms.audio.waveform import mean_of_channels

WINDOW_S = 0.032
# Every second window is measured, and the next one is taken to be like it. That halves the time.
STRIDE = 2
# Bins of a band: 125 Hz. A line of a Hann window is in at most two adjacent bands.
BAND_BINS = 4
LINE_BANDS = 2
# Bins of DC and mains hum, which are not counted.
_LOWEST_BINS = 3
# A band carries sound if its power is less than this below that of the strongest band of the recording.
BELOW_DB = 55.0
# A steady floor up to this below the strongest band is a noise of the recording. A weaker one is hiss or quantisation.
FLOOR_BELOW_DB = 45.0
# Decibels by which sound exceeds a weak floor: from the 10th percentile of the floor to its peaks.
OVER_FLOOR_DB = 14.0
FLOOR_PERCENTILE = 0.10
# Percentile of the windows' bandwidths that is the bandwidth of a recording. Fricatives are rare.
WINDOWS_PERCENTILE = 97.0
# Share of half the rate up to which a recording with a steep edge or images was raised in rate.
UPSAMPLED_SHARE = 0.58
STEEP_DB = 15.0
# Correlation of the bands mirrored at half an earlier rate, and these rates.
MIRRORED_CORRELATION = 0.45
EARLIER_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MIRRORED_SHARE = 0.97
_MIRRORED_BINS = 60
# Loud windows that are kept for the search of images.
_LOUD_WINDOWS, _FEWEST_LOUD = 48, 4
# The upper bits of a float32 number classes of power, 2 an octave.
_CLASS_SHIFT = 22
_CLASSES = 1 << (32 - _CLASS_SHIFT - 1)
# Steps of 6 dB below the strongest band of a window for which the highest band is kept: two exponents of float32.
_STEP_SHIFT, _STEP_DB, _NUM_STEPS = 24, 20 * math.log10(2), 13


@dataclasses.dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bandwidth of a recording.

    Attributes:
        bandwidth_hz: highest frequency that carries sound; 0.0 in silence.
        upsampled: whether the bandwidth lies far under half the rate, and ends in a steep edge or in images.
        window_bandwidth: highest frequency that carries sound in each window of 32 ms; 0 in silence: float32 [w].
    """

    bandwidth_hz: float
    upsampled: bool
    window_bandwidth: np.ndarray


def bandwidth_of(window_bandwidth: np.ndarray) -> float:
    """Returns the bandwidth in Hz of a recording or of a part of it; 0.0 if all of it is silence.

    Args:
        window_bandwidth: highest frequency that carries sound in each window, 0 in silence: float32 [w].
    """
    sound = window_bandwidth[window_bandwidth > 0]
    return _higher_percentile(sound) if len(sound) else 0.0


def _higher_percentile(sound: np.ndarray) -> float:
    index = math.ceil((len(sound) - 1) * WINDOWS_PERCENTILE / 100)
    return float(np.partition(sound, index)[index])


@functools.lru_cache(maxsize=64)
def _hann_window(size: int) -> np.ndarray:
    return np.hanning(size).astype(np.float32)


@functools.lru_cache(maxsize=1024)
def _mirrored_bins(fold: float, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bins above half of the bin `fold`, and those that they mirror: int [n] each."""
    above = np.arange(math.ceil(fold / 2) + _LOWEST_BINS, min(num_bins - 2, fold / 2 + _MIRRORED_BINS), dtype=int)
    return above, np.rint(fold - above).astype(int)


class BandwidthMeter:
    """Measures the bandwidth block by block, in adjacent Hann windows of 32 ms of the mean of the channels.

    A band carries sound if three adjacent bands do, because a pilot tone is no sound. Sound is less than 55 dB below the
    strongest band, and clearly over a weak steady floor, such as quantisation noise or hiss above the speech.

    Args:
        sample_rate: sampling rate of the recording in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._size = max(2 * BAND_BINS * (LINE_BANDS + 1), round(sample_rate * WINDOW_S))
        self._window = _hann_window(self._size)
        self._num_bands = (self._size // 2 + 1) // BAND_BINS
        self._rest = np.empty(0, np.float32)
        self._sum = np.zeros(self._size // 2 + 1)
        # Number of measured windows, and of all.
        self._num_windows, self._num_seen = 0, 0
        # The floor is that of the upper half of the bands.
        self._first_counted = self._num_bands // 2
        self._classes = np.zeros((self._num_bands - self._first_counted) * _CLASSES, np.int64)
        self._window_powers: list[np.ndarray] = []
        self._strongest: list[np.ndarray] = []
        self._highest: list[np.ndarray] = []
        self._loud = np.empty((0, self._size // 2 + 1), np.float32)

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        mono = mean_of_channels(block)
        mono = np.concatenate([self._rest, mono]) if len(self._rest) else mono
        windows = mono[: len(mono) // self._size * self._size].reshape(-1, self._size)
        self._rest = mono[windows.size :].copy()
        measured = windows[-self._num_seen % STRIDE :: STRIDE]
        self._num_seen += len(windows)
        if len(measured):
            self._add(measured)

    def result(self) -> Bandwidth:
        """Returns the bandwidth. Call it once, after the last block."""
        if len(self._rest) and not self._num_windows:
            self._add(np.pad(self._rest, (0, self._size - len(self._rest)))[np.newaxis])
        if not self._num_windows:
            return Bandwidth(0.0, False, np.empty(0, np.float32))
        limit = self._threshold()
        windows = np.repeat(self._window_bandwidth(limit), STRIDE)[: max(self._num_seen, 1)]
        mirror = self._mirror()
        if mirror is not None:
            windows = np.minimum(windows, np.float32(mirror))
        bandwidth = bandwidth_of(windows)
        narrow = 0 < bandwidth <= UPSAMPLED_SHARE * self._rate / 2
        return Bandwidth(bandwidth, narrow and (mirror is not None or self._is_steep(bandwidth)), windows)

    @property
    def spectrum(self) -> np.ndarray:
        """Mean power of each bin of 31.25 Hz over all windows: float64 [size // 2 + 1]."""
        return self._sum / max(self._num_windows, 1)

    @property
    def window_power(self) -> np.ndarray:
        """Mean square of each measured window over 78 Hz, on the scale of the samples: float64 [w]."""
        power = np.concatenate(self._window_powers or [np.empty(0)]).astype(np.float64)
        return power * (2 / (self._size * float(np.square(self._window).sum(dtype=np.float64))))

    def _add(self, windows: np.ndarray) -> None:
        # An offset would leak into the bins above it.
        windows = windows - windows.mean(axis=1, keepdims=True)
        spectrum = scipy.fft.rfft(windows * self._window, axis=-1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        power[:, :_LOWEST_BINS] = 0
        self._sum += power.sum(axis=0)
        self._window_powers.append(power.sum(axis=1))
        self._num_windows += len(power)
        bands = power[:, : self._num_bands * BAND_BINS : BAND_BINS].copy()
        for offset in range(1, BAND_BINS):
            bands += power[:, offset : self._num_bands * BAND_BINS : BAND_BINS]
        classes = (bands[:, self._first_counted :].view(np.uint32) >> _CLASS_SHIFT).astype(np.int64)
        classes += np.arange(0, len(self._classes), _CLASSES)
        self._classes += np.bincount(classes.reshape(-1), minlength=len(self._classes))
        self._add_windows(bands)
        self._add_loud(power)

    def _add_windows(self, bands: np.ndarray) -> None:
        """Keeps the highest band of each window for several levels below its strongest band."""
        lineless = np.minimum(np.minimum(bands[:, 2:], bands[:, 1:-1]), bands[:, :-2])
        # The largest power of a band and those above it falls towards higher bands, so that a count is a position.
        above = np.maximum.accumulate(lineless[:, ::-1], axis=1).view(np.int32)
        strongest = above[:, -1:]
        step = np.minimum((strongest - above) >> _STEP_SHIFT, _NUM_STEPS)
        step += np.arange(0, len(step) * (_NUM_STEPS + 1), _NUM_STEPS + 1, dtype=np.int32)[:, np.newaxis]
        count = np.bincount(step.reshape(-1), minlength=len(step) * (_NUM_STEPS + 1)).reshape(len(step), -1)
        self._strongest.append(strongest[:, 0].view(np.float32))
        self._highest.append(np.cumsum(count[:, :_NUM_STEPS], axis=1).astype(np.uint16))

    def _add_loud(self, power: np.ndarray) -> None:
        """Keeps the windows with the most power over 1 kHz."""
        power = np.concatenate([self._loud, power])
        if len(power) > _LOUD_WINDOWS:
            level = power[:, round(1000 * self._size / self._rate) :].sum(axis=1)
            power = power[np.argpartition(level, -_LOUD_WINDOWS)[-_LOUD_WINDOWS:]]
        self._loud = power

    def _threshold(self) -> float:
        """Returns the smallest power of a band that carries sound."""
        mean = self._band_means()
        strongest = float(np.minimum(np.minimum(mean[2:], mean[1:-1]), mean[:-2]).max())
        limit = strongest * 10 ** (-BELOW_DB / 10)
        classes = self._classes.reshape(-1, _CLASSES)
        total = np.cumsum(classes[:, 1:], axis=1)
        reached = np.argmax(total > FLOOR_PERCENTILE * total[:, -1:], axis=1).astype(np.uint32)
        reached += total[:, -1] > 0  # class 0 is left out
        floors = np.sort((reached << _CLASS_SHIFT).view(np.float32))
        floor = float(floors[(len(floors) - 1) // 2] + floors[len(floors) // 2]) / 2
        if floor < strongest * 10 ** (-FLOOR_BELOW_DB / 10):
            limit = max(limit, floor * 10 ** (OVER_FLOOR_DB / 10))
        return limit

    def _band_means(self) -> np.ndarray:
        used = self.spectrum[: self._num_bands * BAND_BINS]
        return used.reshape(-1, BAND_BINS).sum(axis=1)

    def _window_bandwidth(self, limit: float) -> np.ndarray:
        """Returns the highest frequency of each window whose band has at least the power `limit`: float32 [w]."""
        strongest, highest = np.concatenate(self._strongest), np.concatenate(self._highest)
        below_db = 10 * np.log10(np.maximum(strongest, 1e-30) / max(limit, 1e-30))
        step = np.clip(np.floor(below_db / _STEP_DB) - 1, 0, _NUM_STEPS - 1).astype(int)
        count = highest[np.arange(len(highest)), step].astype(np.float64)
        hertz = (count + LINE_BANDS) * (BAND_BINS * self._rate / self._size)
        return np.where((strongest > 0) & (below_db > 0), hertz, 0.0).astype(np.float32)

    def _mirror(self) -> float | None:
        """Returns the frequency in Hz above which the spectrum is an image of that below; None without images."""
        loud = self._loud[self._loud.sum(axis=1) > 0]
        rates = [rate for rate in EARLIER_RATES if rate < MIRRORED_SHARE * self._rate]
        if len(loud) < _FEWEST_LOUD or not rates:
            return None
        levels = np.log(loud + np.float32(1e-30))
        levels -= levels.mean(axis=0)
        correlations = {rate: self._correlation(levels, rate * self._size / self._rate) for rate in rates}
        best = max(rates, key=correlations.__getitem__)
        # The images of images are mirrored at multiples of the earlier rate.
        found = [rate for rate in rates if best % rate == 0 and correlations[rate] >= MIRRORED_CORRELATION]
        return min(found) / 2 if found else None

    @staticmethod
    def _correlation(levels: np.ndarray, fold: float) -> float:
        """Returns the correlation of levels mirrored at half an earlier rate.

        Args:
            levels: log power of each bin in loud windows, minus its mean: float32 [w, bins].
            fold: bin of the earlier rate.
        """
        above, below = _mirrored_bins(fold, levels.shape[1])
        if len(above) < _MIRRORED_BINS // 4:
            return 0.0
        upper, lower = levels[:, above], levels[:, below]
        upper -= upper.mean(axis=1, keepdims=True)
        lower -= lower.mean(axis=1, keepdims=True)
        norm = math.sqrt(float(np.vdot(upper, upper)) * float(np.vdot(lower, lower)))
        return float(np.vdot(upper, lower)) / norm if norm > 0 else 0.0

    def _is_steep(self, bandwidth: float) -> bool:
        """Returns whether the mean spectrum falls by 15 dB within 500 Hz above the bandwidth."""
        mean = self._band_means()
        edge = round(bandwidth * self._size / self._rate / BAND_BINS)
        below, above = mean[max(edge - 9, 1) : max(edge - 4, 2)], mean[edge + 1 : edge + 5]
        return len(above) > 0 and float(np.median(above)) * 10 ** (STEEP_DB / 10) <= float(np.median(below))
