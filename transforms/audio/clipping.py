"""Share of clipped samples, from the distribution of the amplitudes relative to the recording's own extremes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

# The upper half of a float32 (sign, exponent, 7 bits of the mantissa) numbers 128 classes an octave, whatever the range.
_CLASSES = 1 << 15
_UPPER_HALF = 1 if np.little_endian else 0
# Edges of the cells of amplitudes relative to the extreme of a side.
_CELLS = 100
_EDGES = np.arange(1, _CELLS + 1) / _CELLS
# The mean of the first second counts as an offset if it exceeds this share of its range.
OFFSET_S, OFFSET_SHARE = 1.0, 0.02
# A mean of a second that moves by more than this share of the range is a drifting or stepping offset. It spreads a plateau, and
# moves sound between amplitudes, so that a maximum of the density below the extreme proves nothing.
MOVING_SHARE = 0.05
# Fewest samples, and smallest share of all samples, that equal the extreme of a clipped side.
EQUAL_COUNT, EQUAL_SHARE, EQUAL_RATIO = 6, 1e-4, 3.0
# The same for samples within 1 % of the extreme. Dither and gain spread a plateau over several values.
TOP_COUNT, TOP_SHARE, TOP_RATIO = 10, 2e-4, 6.0
# The same for a maximum of the density below the extreme. Resamplers and codecs overshoot a plateau.
BUMP_COUNT, BUMP_SHARE, BUMP_RATIO = 20, 4e-4, 2.3
# A weaker maximum suffices for a large share of the samples.
LARGE_BUMP_SHARE, LARGE_BUMP_RATIO = 3e-3, 1.8
# Amplitudes relative to the extreme at which a maximum is sought.
_BUMP_CELLS = np.arange(45, 98)
# Fewest different amplitudes in the upper half of the range for which a density can be measured.
_FINE_CLASSES = 25


@dataclasses.dataclass(frozen=True, slots=True)
class Clipping:
    """Clipped samples of a recording.

    Attributes:
        clipped_ratio: share of the samples of all channels that are clipped, 0 to 1; 0.0 without clipping.
        lowest: for each channel, the value at or below which a sample is clipped; None if that side is not clipped.
        highest: for each channel, the value at or above which a sample is clipped; None if that side is not clipped.
    """

    clipped_ratio: float
    lowest: tuple[float | None, ...]
    highest: tuple[float | None, ...]

    def reached(self, high: np.ndarray, low: np.ndarray) -> np.ndarray:
        """Returns whether the extremes of frames reach the clipped values of any channel, bool [T].

        Args:
            high: largest sample of each frame: float [T].
            low: smallest sample of each frame: float [T].
        """
        reached = np.zeros(len(high), bool)
        if highest := [value for value in self.highest if value is not None]:
            reached |= high >= min(highest)
        if lowest := [value for value in self.lowest if value is not None]:
            reached |= low <= max(lowest)
        return reached


class ClippingMeter:
    """Measures clipping block by block.

    Sound becomes rarer towards its extremes. Clipping leaves more samples at the extreme than just below it, also after a gain
    or an offset. A resampler or a codec moves these samples to a maximum of the density somewhat below the new extreme. Steady
    tones have such a maximum too, but fewer small than large amplitudes.

    Args:
        sample_rate: sampling rate of the recording in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._first_length = round(OFFSET_S * sample_rate)
        self._first: list[np.ndarray] = []
        self._channels: list[_Channel] = []

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        if not len(block):
            return
        if not self._channels:
            self._first.append(block)
            if sum(map(len, self._first)) < self._first_length:
                return
            block = self._start()
        self._add(block)

    def _start(self) -> np.ndarray:
        """Creates the channels, and returns all samples so far: float32 [n, channels]."""
        block = np.concatenate(self._first) if len(self._first) > 1 else self._first[0]
        self._first = []
        self._channels = [_Channel(samples[: self._first_length], self._first_length) for samples in block.T]
        return block

    def _add(self, block: np.ndarray) -> None:
        for channel, samples in zip(self._channels, block.T, strict=True):
            channel.add(samples)

    def result(self) -> Clipping:
        """Returns the clipped samples of all blocks so far."""
        if self._first:
            self._add(self._start())
        sides = [channel.sides() for channel in self._channels]
        count = sum(channel.count for channel in self._channels)
        clipped = sum(side.clipped for pair in sides for side in pair)
        return Clipping(
            clipped_ratio=clipped / max(count, 1),
            lowest=tuple(_negated(low.value) for low, _ in sides),
            highest=tuple(high.value for _, high in sides),
        )


def _negated(value: float | None) -> float | None:
    return None if value is None else -value


@dataclasses.dataclass(frozen=True, slots=True)
class _Side:
    """Smallest clipped sample of a side, as a distance from 0, and the number of clipped samples."""

    value: float | None = None
    clipped: int = 0


class _Channel:
    """Amplitude classes and extremes of one channel.

    Args:
        samples: first samples: float32 [n], n >= 1.
        second: number of samples of a second.
    """

    def __init__(self, samples: np.ndarray, second: int) -> None:
        mean = float(samples.mean(dtype=np.float64))
        spread = float(samples.max()) - float(samples.min())
        self.count = 0
        self._second = second
        # Sum and number of the samples of the current second, and the extremes of the means of the seconds before.
        self._sum, self._num_summed = 0.0, 0
        self._means = [math.inf, -math.inf]
        self._offset = np.float32(mean if abs(mean) > OFFSET_SHARE * spread else 0.0)
        self._classes: np.ndarray | None = None
        self._extremes = [-math.inf, -math.inf]
        self._equal = [0, 0]

    def add(self, samples: np.ndarray) -> None:
        samples = np.ascontiguousarray(samples, np.float32)
        if self._offset:
            samples = samples - self._offset
        self.count += len(samples)
        self._follow_offset(samples)
        # Every second sample shows the distribution, at half the cost.
        classes = np.bincount(samples.view(np.uint16)[_UPPER_HALF::4], minlength=2 * _CLASSES)
        self._classes = classes if self._classes is None else self._classes + classes
        for side, extreme in enumerate((samples.max(), samples.min())):
            value = float(-extreme if side else extreme)
            if value > self._extremes[side]:
                self._extremes[side], self._equal[side] = value, 0
            if value == self._extremes[side]:
                self._equal[side] += int(np.count_nonzero(samples == extreme))

    def _follow_offset(self, samples: np.ndarray) -> None:
        while len(samples):
            part = samples[: self._second - self._num_summed]
            samples = samples[len(part) :]
            self._sum += float(part.sum(dtype=np.float64))
            self._num_summed += len(part)
            if self._num_summed == self._second:
                mean = self._sum / self._second
                self._means = [min(self._means[0], mean), max(self._means[1], mean)]
                self._sum, self._num_summed = 0.0, 0

    def sides(self) -> tuple[_Side, _Side]:
        """Returns the lower and the upper side."""
        if self._classes is None:
            return _Side(), _Side()
        classes = self._classes.reshape(2, _CLASSES)
        is_moving = self._means[1] - self._means[0] > MOVING_SHARE * sum(self._extremes)
        low, high = (_clipped(classes[i], self._extremes[i], self._equal[i], self.count, is_moving) for i in (1, 0))
        offset = float(self._offset)
        return _moved(low, -offset), _moved(high, offset)


def _moved(side: _Side, offset: float) -> _Side:
    """Returns a side with its limit moved by an offset, and by the error of float32, so that no clipped sample is missed."""
    if side.value is None or not offset:
        return side
    return _Side(side.value + offset - 2e-7 * (abs(side.value) + abs(offset)), side.clipped)


def _clipped(classes: np.ndarray, extreme: float, equal: int, count: int, is_moving: bool) -> _Side:
    """Returns the clipped samples of one side.

    Args:
        classes: number of samples in each class of amplitudes, of every second sample: int64 [32768].
        extreme: largest amplitude.
        equal: number of samples with that amplitude.
        count: number of samples on both sides.
        is_moving: whether the offset moves.
    """
    if not 0.0 < extreme < math.inf:
        return _Side()
    cells, num_classes = _cells(classes, extreme)
    between = cells[25:90].sum()
    # Clicks and square waves have hardly any samples between 0 and the extreme.
    if between < 0.02 * equal or between < EQUAL_COUNT:
        return _Side()
    below = cells[90:98].mean()
    fewest = max(EQUAL_COUNT, EQUAL_SHARE * count)
    limit = None
    if num_classes < _FINE_CLASSES:
        # Coarse values: compare with the next values below, because a cell may hold one value or none.
        lower = classes[: _class_of(extreme)]
        used = np.flatnonzero(lower)[-3:]
        if equal >= fewest and equal > 4 * EQUAL_RATIO * lower[used].mean():
            limit = extreme
    elif equal >= max(fewest, EQUAL_RATIO * below) and _is_no_tone(cells, equal, below):
        limit = extreme
    elif cells[99] >= max(TOP_COUNT, TOP_SHARE * count) and cells[99] >= TOP_RATIO * below:
        limit = 0.99 * extreme
    else:
        bump = None if is_moving else _bump(cells, count)
        limit = None if bump is None else bump * extreme
    if limit is None:
        return _Side()
    clipped = equal if limit == extreme else round(cells[math.floor(limit / extreme * _CELLS + 0.5) :].sum())
    return _Side(limit, clipped)


def _is_no_tone(cells: np.ndarray, equal: int, below: float) -> bool:
    """Returns whether the samples at the extreme are not those of a tone, whose density rises towards the extreme."""
    return equal >= 20 * below or cells[20:40].sum() > cells[60:80].sum()


def _bump(cells: np.ndarray, count: int) -> float | None:
    """Returns where a maximum of the density begins that only clipping explains, relative to the extreme; None without one.

    Args:
        cells: number of samples in each cell of 1 % of the extreme: float64 [100].
        count: number of samples on both sides.
    """
    total = np.zeros(_CELLS + 1)
    np.cumsum(cells, out=total[1:])
    upper = _between(total, -2, 3)
    ratio = upper / np.maximum(_between(total, -15, -5) / 2, 1.0)
    share = upper / count
    strong = (upper >= BUMP_COUNT) & (share >= BUMP_SHARE) & (ratio >= BUMP_RATIO)
    strong |= (share >= LARGE_BUMP_SHARE) & (ratio >= LARGE_BUMP_RATIO)
    if not strong.any():
        return None
    # A steady tone has more large than small amplitudes.
    at = _BUMP_CELLS
    small = total[at * 2 // 5] - total[at // 5]
    large = total[at * 4 // 5] - total[at * 3 // 5]
    strong &= small > large
    if not strong.any():
        return None
    best = at[strong][np.argmax(ratio[strong])]
    return float(best - 2) / _CELLS


def _between(total: np.ndarray, first: int, end: int) -> np.ndarray:
    """Returns the samples in the cells from `first` to before `end`, relative to each of `_BUMP_CELLS`: float64 [53]."""
    low, high = _BUMP_CELLS[0], _BUMP_CELLS[-1] + 1
    return np.asarray(total[low + end : high + end] - total[low + first : high + first])


def _class_of(amplitude: float) -> int:
    return int(np.float32(amplitude).view(np.uint32) >> 16)


def _cells(classes: np.ndarray, extreme: float) -> tuple[np.ndarray, int]:
    """Returns the samples in each cell of 1 % of the extreme: float64 [100], and the number of classes over half of it."""
    last = _class_of(extreme)
    first = max(_class_of(extreme / _CELLS), 1)
    numbers = np.arange(first, last + 2, dtype=np.uint32) << 16
    edges = numbers.view(np.float32).astype(np.float64)
    total = np.zeros(len(edges))
    np.cumsum(2 * classes[first : last + 1], out=total[1:])
    edges[-1] = extreme
    at_edges = np.interp(_EDGES * extreme, edges, total)
    half = _class_of(extreme / 2)
    at_edges[1:] -= at_edges[:-1].copy()
    return at_edges, int(np.count_nonzero(classes[half : last + 1]))
