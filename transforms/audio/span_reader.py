"""Collects the samples of one span and channel of a recording, resampled to 16 kHz, and measures its signal facts."""

from __future__ import annotations

import dataclasses

import numpy as np
import soxr

from model.features import FRAME_LENGTH, SAMPLE_RATE
from transforms.audio.channel_relations import ChannelChoice, ChannelMeter
from transforms.audio.facts_meter import FactsMeter, Measured
from transforms.audio.waveform import Waveform
from transforms.decoders.sound import Sound
from transforms.elements import WHOLE, SignalFacts, Span
from transforms.errors import AudioFault, Reason, Stage

# Seconds by which a span may end after its recording, because manifests round times.
SPAN_SLACK_S = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """The decoded samples of a recording, or of one span or channel of it, with properties of the recording.

    Attributes:
        waveform: samples at 16 kHz without DC offset, one channel or the mean of all, full scale 1.0, at least 512.
        duration_s: length of the span in seconds, at the recording's own rate.
        sample_rate: sampling rate of the recording in Hz.
        channels: number of channels of the recording.
        channel: number of the decoded channel, from 0; None for the mean of all.
        format: container and coding, as "FLAC/PCM_16".
        measured: signal facts of the decoded span and channels.
        alternatives: other channels of the span that may be the better ones.
    """

    waveform: Waveform
    duration_s: float
    sample_rate: int
    channels: int
    channel: int | None
    format: str
    measured: Measured
    alternatives: tuple[Decoded, ...] = ()

    def of_channel(self, channel: int | None) -> Decoded:
        """Returns the result for a channel among this one and its alternatives."""
        return next(result for result in (self, *self.alternatives) if result.channel == channel)

    @property
    def facts(self) -> SignalFacts:
        """Signal facts of the decoded span and channels."""
        return self.measured.facts

    @property
    def samples(self) -> np.ndarray:
        """The whole waveform in memory: float32 [n]."""
        return self.waveform.read()


class SpanReader:
    """Collects the samples of one span and channel from the blocks of a recording.

    Args:
        span_index: position of the span in the caller's list.
        span: part of the recording.
        channel: number of the channel, from 0; None for the mean of all.
        sound: the recording, for its rate, length and format.
        max_duration_s: longest span in seconds; a longer one gets a fault.
        compare_channels: whether to compare the channels, for `choice`.
        keep_dc: whether to keep the DC offset of the samples.

    Attributes:
        span_index: position of the span in the caller's list.
        channel: number of the channel, from 0; None for the mean of all.
        start: first sample of the span in the recording.
        end: sample after the last one of the span; None for the end of the recording.
        fault: reason why the span cannot be decoded; None if no fault was found so far.
    """

    def __init__(
        self,
        span_index: int,
        span: Span,
        channel: int | None,
        sound: Sound,
        max_duration_s: float,
        compare_channels: bool = False,
        keep_dc: bool = False,
    ) -> None:
        self.span_index, self.channel = span_index, channel
        rate = sound.samplerate
        self.start = round(span.start_s * rate)
        self.end = None if span.end_s is None else round(span.end_s * rate)
        self.fault: AudioFault | None = None
        self._span, self._max_duration_s, self._sound = span, max_duration_s, sound
        self._meter = FactsMeter(rate)
        self._channel_meter = ChannelMeter(rate, sound.channels) if compare_channels and sound.channels > 1 else None
        self._waveform = Waveform(keep_dc)
        self._resampler = None
        if rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        self._num_samples = 0
        self._read_to = 0

    # Sums and squares of samples near float32's limit overflow. `_finish` rejects the result.
    @np.errstate(over="ignore", invalid="ignore")
    def add(self, block: np.ndarray, position: int) -> None:
        """Keeps the part of a block that belongs to the span.

        Args:
            block: float32 [n, channels], all channels of the recording.
            position: number of the block's first sample in the recording.
        """
        self._read_to = position + len(block)
        first = max(self.start - position, 0)
        last = len(block) if self.end is None else min(self.end - position, len(block))
        if self.fault is not None or last <= first:
            return
        block = block[first:last]
        if self.channel is not None:
            block = block[:, self.channel : self.channel + 1]
        if not np.isfinite(block).all():
            bad = position + first + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            self.fault = AudioFault(Stage.DECODE, Reason.NON_FINITE, f"sample {bad} is NaN or infinite")
            return
        self._num_samples += len(block)
        if self._num_samples > self._max_duration_s * self._sound.samplerate:
            limit = self._max_duration_s
            length = f"{limit / 3600:g} hours" if limit > 3600 else f"{limit:g} s"
            detail = f"it is longer than the limit of {length}; cut it into parts"
            self.fault = AudioFault(Stage.DECODE, Reason.TOO_LONG, detail)
            return
        self._meter.add(block)
        if self._channel_meter:
            self._channel_meter.add(block)
        mono = block.mean(axis=1) if block.shape[1] > 1 else block[:, 0]
        self._waveform.add(self._resampler.resample_chunk(mono) if self._resampler else mono)

    def is_complete(self, position: int) -> bool:
        """Returns whether the span needs no sample of the recording from `position` on."""
        return self.fault is not None or (self.end is not None and self.end <= position)

    def choice(self) -> ChannelChoice:
        """Returns the channels to score instead of their mean. Call it after the last block."""
        return self._channel_meter.choice() if self._channel_meter and not self.fault else ChannelChoice()

    def result(self) -> Decoded | AudioFault:
        """Returns the decoded span, or its fault. Call it once, after the last block."""
        return self.fault or self._finish()

    def _finish(self) -> Decoded | AudioFault:
        sound, waveform = self._sound, self._waveform
        missing = 0 if self.end is None else self.end - self.start - self._num_samples
        if self._span != WHOLE and (not self._num_samples or missing > SPAN_SLACK_S * sound.samplerate):
            detail = f"{self._span} is not within the recording of {self._read_to / sound.samplerate:.2f} s"
            return AudioFault(Stage.DECODE, Reason.OUTSIDE, detail)
        if self._resampler:
            waveform.add(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        waveform.end()
        if len(waveform) < FRAME_LENGTH:
            detail = f"{self._num_samples} samples at {sound.samplerate} Hz are less than one frame of 32 ms"
            return AudioFault(Stage.DECODE, Reason.TOO_SHORT, detail)
        if not np.isfinite([waveform.lowest, waveform.highest]).all():
            detail = "the mean of the channels exceeds the range of float32"
            return AudioFault(Stage.DECODE, Reason.NON_FINITE, detail)
        if self._meter.is_constant():
            return AudioFault(Stage.DECODE, Reason.SILENT, "all samples are the same")
        if waveform.lowest == waveform.highest:
            return AudioFault(Stage.DECODE, Reason.SILENT, "the channels cancel each other")
        return Decoded(
            waveform=waveform,
            duration_s=self._num_samples / sound.samplerate,
            sample_rate=sound.samplerate,
            channels=sound.channels,
            channel=self.channel,
            format=f"{sound.format}/{sound.subtype}",
            measured=self._meter.measure(waveform.power()).with_marks(self.choice().flags),
        )
