"""Measures the signal facts of an utterance in one pass and in bounded memory."""

from __future__ import annotations

import dataclasses

import numpy as np

from transforms.audio.bandwidth import BandwidthMeter
from transforms.audio.clipping import ClippingMeter
from transforms.audio.dropouts import DropoutMeter
from transforms.audio.frame_extremes import FrameExtremes
from transforms.audio.hum import HumMeter
from transforms.audio.no_speech import is_without_speech
from transforms.audio.signal_facts import FLOOR_DB, facts_of
from transforms.duplicates.content_hash import ContentHash
from transforms.elements import FrameFacts, SignalFacts
from transforms.marks import NO_SPEECH, UPSAMPLED

# Limit of samples for the meters, whose sums of squares would overflow: 300 dB above full scale.
LARGEST = np.float32(1e15)


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Everything that is measured about an utterance without a model.

    Attributes:
        facts: facts of the utterance.
        frame_facts: measurements of each frame.
        marks: flags that the samples of the whole utterance decide.
        content_hash: hash of the samples of the scored channels (`ContentHash`).
    """

    facts: SignalFacts
    frame_facts: FrameFacts
    marks: tuple[str, ...]
    content_hash: str | None = None

    def with_marks(self, marks: tuple[str, ...]) -> Measured:
        """Returns the same measurements with further marks."""
        return dataclasses.replace(self, marks=(*self.marks, *marks))


class FactsMeter:
    """Measures the scored channels of an utterance block by block, at the recording's own rate.

    Args:
        sample_rate: sampling rate of the recording in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._count = 0
        self._sum = 0.0
        self._extremes = FrameExtremes(sample_rate)
        self._clipping = ClippingMeter(sample_rate)
        self._dropouts = DropoutMeter(sample_rate)
        self._bandwidth = BandwidthMeter(sample_rate)
        self._hum = HumMeter(sample_rate)
        self._hash = ContentHash(sample_rate)

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        if not block.size:
            return
        self._count += block.size
        self._sum += float(block.sum(dtype=np.float64))
        self._extremes.add(block)
        self._hash.add(block)
        if max(block.max(), -block.min()) > LARGEST:
            block = np.clip(block, -LARGEST, LARGEST)
        for meter in (self._clipping, self._dropouts, self._bandwidth, self._hum):
            meter.add(block)

    def is_constant(self) -> bool:
        """Returns whether all samples are equal, before resampling, which adds ripples at the ends of a constant."""
        high, low = self._extremes.frames(1)
        return float(high[0]) == float(low[0])

    def measure(self, power: np.ndarray) -> Measured:
        """Returns all measurements.

        Args:
            power: mean square of each frame of the scored signal, mono at 16 kHz without DC offset: float64 [T].
        """
        dc_offset = self._sum / max(self._count, 1)
        high, low = self._extremes.frames(len(power))
        clipping, bandwidth = self._clipping.result(), self._bandwidth.result()
        clipped = clipping.reached(high, low)
        frame_facts = FrameFacts(
            level_dbfs=_decibels(np.sqrt(power)),
            peak_dbfs=_decibels(np.maximum(high - dc_offset, dc_offset - low)),
            bandwidth_hz=_of_frames(bandwidth.window_bandwidth, len(power)),
            clipped=clipped,
            dropout_s=self._dropouts.result().seconds_by_shift(len(power)),
        )
        facts = facts_of(
            frame_facts,
            dc_offset=dc_offset,
            hum_dbfs=self._hum.result().hum_db,
            clipped_per_frame=clipping.clipped_ratio / max(np.count_nonzero(clipped) / len(clipped), 1e-12),
        )
        marks = {
            NO_SPEECH: is_without_speech(
                power, frame_facts.peak, self._bandwidth.spectrum, self._bandwidth.window_power
            ),
            UPSAMPLED: bandwidth.upsampled,
        }
        set_marks = tuple(mark for mark, is_set in marks.items() if is_set)
        return Measured(facts, frame_facts, set_marks, self._hash.hexdigest())


def _of_frames(window_bandwidth: np.ndarray, count: int) -> np.ndarray:
    """Returns the bandwidth of frames [T] from that of windows of two shifts: the larger one of a frame's two windows."""
    shifts = np.repeat(window_bandwidth, 2)
    if len(shifts) <= count:
        shifts = np.concatenate([shifts, np.full(count + 1 - len(shifts), shifts[-1] if len(shifts) else 0.0)])
    return np.asarray(np.maximum(shifts[:count], shifts[1 : count + 1]), np.float32)


def _decibels(amplitude: np.ndarray) -> np.ndarray:
    """Returns amplitudes in dB, to 0.1 dB, which keeps the table `frames` small: float32 [T]."""
    return np.round(20 * np.log10(np.maximum(amplitude, 10 ** (FLOOR_DB / 20))), 1).astype(np.float32)
