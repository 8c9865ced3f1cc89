"""Dropouts: short gaps with hard edges inside sound, as lost packets and damaged storage leave them."""

from __future__ import annotations

import dataclasses

import numpy as np

from model.features import FRAME_SHIFT, SAMPLE_RATE

# Length of the steps in which the level is followed.
STEP_S = 0.002
# Shortest and longest gap. A longer one is silence.
MIN_DROPOUT_S, MAX_DROPOUT_S = 0.008, 3.0
# Steps of an edge: the sound falls and rises within them.
EDGE_STEPS = 3
# Fewest whole steps in a gap of the shortest length, at any position relative to the steps.
MIN_STEPS = round(MIN_DROPOUT_S / STEP_S) - 1
# Smallest ratio of the power at both edges to that in the gap (35 dB).
MIN_DROP = 10**3.5
# Lowest level of the louder and of the softer edge, in dB of the gated level of the recording.
LOUDER_EDGE_DB, SOFTER_EDGE_DB = -14.0, -50.0
# The same where most gaps have softer edges, because a noise gate made them.
GATED_LOUDER_EDGE_DB, GATED_SOFTER_EDGE_DB = -8.0, -16.0
# Steps with sound that are searched for the quantisation step, where a block has steps without sound.
QUANTUM_STEPS = 500
# Lowest level at one edge of a run of equal samples that is a dropout whatever the other edge is: a cut may begin in a pause.
CUT_EDGE_DB = -3.0
# Smallest RMS of the louder edge in quantisation steps, and of the softer edge of a gap shorter than 100 ms. Coarse samples
# are 0 between the pulses of a voice.
LOUDER_EDGE_QUANTA, SOFTER_EDGE_QUANTA, LONG_GAP_STEPS = 16.0, 4.0, 50
# A constant run beyond this share of the extreme of the recording is a clipped plateau.
PLATEAU_SHARE = 0.9
# Most gaps whose place is kept.
MAX_INTERVALS = 10_000
# Steps of a part of 32 ms, over which the gated level is measured.
_PART_STEPS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Dropouts:
    """Dropouts of a recording.

    Attributes:
        count: number of dropouts. Overlapping ones of several channels count once.
        total_s: length of all dropouts in seconds.
        intervals: start and end of the first 10,000 dropouts in samples, within 2 ms, in order: int64 [k, 2].
        sample_rate: sampling rate of the recording in Hz.
    """

    count: int
    total_s: float
    intervals: np.ndarray
    sample_rate: int

    def seconds_by_shift(self, count: int) -> np.ndarray:
        """Returns the seconds of dropouts in each of the first `count` frame shifts of 16 ms: float32 [T]."""
        if not len(self.intervals):
            return np.zeros(count, np.float32)
        edges = np.arange(count + 1) * (FRAME_SHIFT / SAMPLE_RATE)
        # Seconds of dropouts before each edge: intervals are disjoint and in order.
        times = np.concatenate([[0.0], self.intervals.reshape(-1) / self.sample_rate])
        inside = np.concatenate([[0.0], np.cumsum(np.diff(times) * (np.arange(len(times) - 1) % 2))])
        return np.diff(np.interp(edges, times, inside)).astype(np.float32)


@dataclasses.dataclass(frozen=True, slots=True)
class _Gap:
    """A gap with hard edges in one channel.

    Attributes:
        start: first step without sound.
        end: step after the last one without sound.
        before: power before the gap.
        after: power after the gap.
        value: mean sample in the gap.
        exact: whether all samples in the gap are equal.
    """

    start: int
    end: int
    before: float
    after: float
    value: float
    exact: bool

    @property
    def softer(self) -> float:
        """Power of the softer edge."""
        return min(self.before, self.after)

    @property
    def louder(self) -> float:
        """Power of the louder edge."""
        return max(self.before, self.after)


class DropoutMeter:
    """Finds dropouts block by block.

    A dropout is a run of zeros or of one held value of 8 ms to 3 s. Within 6 ms before and after it, the power is at least
    35 dB over that in the gap, and near the gated level of the recording. So the pauses of a noise gate, closures of plosives,
    and silence at the ends are none. Samples need not be exactly equal: a resampler leaves ripples. A dropout in any channel
    counts.

    Args:
        sample_rate: sampling rate of the recording in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._channels: list[_Channel] = []

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        if not len(block):
            return
        if not self._channels:
            self._channels = [_Channel(self._sample_rate) for _ in block.T]
        for channel, samples in zip(self._channels, block.T, strict=True):
            channel.add(samples)

    def result(self) -> Dropouts:
        """Returns the dropouts. Call it once, after the last block."""
        found = [channel.intervals() for channel in self._channels]
        merged: list[list[int]] = []
        for start, end in sorted(interval for intervals in found for interval in intervals):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        intervals = np.array(merged, np.int64).reshape(-1, 2)
        # Beyond the limit, the gaps of each channel are counted without their places.
        more = max((channel.num_more for channel in self._channels), default=0)
        mean_s = float(np.diff(intervals, axis=1).mean()) / self._sample_rate if len(intervals) else 0.0
        return Dropouts(
            count=len(intervals) + more,
            total_s=(len(intervals) + more) * mean_s,
            intervals=intervals[:MAX_INTERVALS],
            sample_rate=self._sample_rate,
        )


class _Channel:
    """Power of the steps of one channel, and the gaps in it.

    Attributes:
        num_more: number of gaps beyond the limit.
    """

    def __init__(self, sample_rate: int) -> None:
        self.num_more = 0
        self._size = max(4, round(sample_rate * STEP_S))
        self._longest = round(MAX_DROPOUT_S * sample_rate / self._size)
        self._rest = np.empty(0, np.float32)
        self._power = np.zeros(EDGE_STEPS, np.float32)
        self._mean = np.zeros(EDGE_STEPS, np.float32)
        # Number of the first step in `_power`, which begins with steps without sound.
        self._first = -EDGE_STEPS
        self._part = np.empty(0, np.float32)
        self._levels = np.zeros(1 << 12, np.int64)
        self._gaps: list[_Gap] = []
        self._lowest, self._highest = np.inf, -np.inf
        self._quantum = np.inf

    def add(self, samples: np.ndarray) -> None:
        samples = np.concatenate([self._rest, samples]) if len(self._rest) else np.ascontiguousarray(samples)
        steps = samples[: len(samples) // self._size * self._size].reshape(-1, self._size)
        self._rest = samples[steps.size :].copy()
        if not len(steps):
            return
        self._lowest, self._highest = min(self._lowest, steps.min()), max(self._highest, steps.max())
        # Relative to the first sample, constant steps have a power of exactly 0.
        first = steps[:, :1]
        steps = steps - first
        weights = np.full(self._size, 1 / self._size, np.float32)
        mean = steps @ weights
        power = np.square(steps) @ weights
        power = np.maximum(power - mean * mean, 0)
        self._add_levels(power)
        self._power = np.concatenate([self._power, power])
        self._mean = np.concatenate([self._mean, mean + first[:, 0]])
        sounding = np.flatnonzero(power)
        if len(sounding) < len(power):
            distances = np.abs(steps[sounding[:: max(1, len(sounding) // QUANTUM_STEPS)]])
            self._quantum = min(self._quantum, np.min(distances, where=distances > 0, initial=np.inf))
        self._find(final=False)

    def intervals(self) -> list[tuple[int, int]]:
        """Returns start and end of the dropouts in samples."""
        self._find(final=True)
        return [(gap.start * self._size, gap.end * self._size) for gap in self._dropouts()]

    def _dropouts(self) -> list[_Gap]:
        gaps = [gap for gap in self._gaps if not self._is_regular(gap)]
        if not gaps:
            return []
        gated = self._gated()
        loud = [gap for gap in gaps if _has_edges(gap, gated, LOUDER_EDGE_DB, SOFTER_EDGE_DB)]
        if len(gaps) <= 2 * len(loud) + 2:
            return loud
        return [gap for gap in loud if _has_edges(gap, gated, GATED_LOUDER_EDGE_DB, GATED_SOFTER_EDGE_DB)]

    def _add_levels(self, power: np.ndarray) -> None:
        """Counts the parts of 32 ms in classes of their power, 16 an octave."""
        power = np.concatenate([self._part, power])
        parts = power[: len(power) // _PART_STEPS * _PART_STEPS].reshape(-1, _PART_STEPS)
        self._part = power[parts.size :]
        mean = parts.mean(axis=1, dtype=np.float32)
        self._levels += np.bincount(mean.view(np.uint32) >> 19, minlength=len(self._levels))

    def _gated(self) -> float:
        """Returns the mean power of the parts at most 10 dB below the mean of all."""
        used = np.flatnonzero(self._levels)
        values = (used.astype(np.uint32) << 19).view(np.float32).astype(np.float64)
        counts = self._levels[used]
        if not len(used):
            return 0.0
        active = values >= 0.1 * np.average(values, weights=counts)
        return float(np.average(values[active], weights=counts[active])) if active.any() else 0.0

    def _find(self, *, final: bool) -> None:
        """Finds the gaps whose surroundings are known, and forgets the steps before the next possible gap.

        Args:
            final: whether no more steps will come.
        """
        power = self._power
        last = len(power) if final else len(power) - self._longest - EDGE_STEPS
        if last <= EDGE_STEPS:
            return
        before = np.maximum(np.maximum(power[:-3], power[1:-2]), power[2:-1])[: last - EDGE_STEPS]
        starts = EDGE_STEPS + np.flatnonzero(power[EDGE_STEPS:last] * MIN_DROP < before)
        end = 0
        for start in starts.tolist():
            if start < end:
                continue
            edge = power[start - EDGE_STEPS : start].max()
            exact = power[start] == 0
            loud = power[start : start + self._longest + 1] > (0 if exact else edge / MIN_DROP)
            length = int(np.argmax(loud))
            if length < MIN_STEPS or not loud[length]:
                continue
            end = start + length
            after = power[end : end + EDGE_STEPS].max()
            if power[start:end].max() * MIN_DROP > after:
                continue
            value = float(self._mean[start])
            self._keep(_Gap(start + self._first, end + self._first, float(edge), float(after), value, bool(exact)))
        keep = max(last, end) - EDGE_STEPS
        self._power, self._mean, self._first = power[keep:], self._mean[keep:], self._first + keep

    def _keep(self, gap: _Gap) -> None:
        if len(self._gaps) >= 2 * MAX_INTERVALS:
            self._gaps = self._dropouts()
            if len(self._gaps) >= MAX_INTERVALS:
                self.num_more += 1
                return
        self._gaps.append(gap)

    def _is_regular(self, gap: _Gap) -> bool:
        """Returns whether a gap comes from coarse samples or from clipping."""
        quantum = self._quantum if np.isfinite(self._quantum) else 0.0
        is_short = gap.end - gap.start < LONG_GAP_STEPS
        if gap.louder < (LOUDER_EDGE_QUANTA * quantum) ** 2 or (
            is_short and gap.softer < (SOFTER_EDGE_QUANTA * quantum) ** 2
        ):
            return True
        extreme = self._highest if gap.value > 0 else self._lowest
        return gap.value != 0 and gap.value / extreme >= PLATEAU_SHARE


def _has_edges(gap: _Gap, gated: float, louder_db: float, softer_db: float) -> bool:
    """Returns whether both edges of a gap are loud enough, in dB of the gated power."""
    if gap.exact and gap.louder >= gated * 10 ** (CUT_EDGE_DB / 10):
        return True
    return gap.louder >= gated * 10 ** (louder_db / 10) and gap.softer >= gated * 10 ** (softer_db / 10)
