"""Collects the samples of one span and channel of a recording, resampled to 16 kHz, and measures its signal facts."""

from __future__ import annotations

import dataclasses

import numpy as np
import soxr

from model.features import FRAME_LENGTH, SAMPLE_RATE
from transforms.audio.channel_relations import ChannelChoice, ChannelMeter
from transforms.audio.facts_meter import FactsMeter, Measured
from transforms.audio.waveform import Waveform, mean_of_channels
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


class _Collected:
    """The samples of a span so far, and the meters over them.

    Args:
        sound: the recording.
        compare_channels: see `SpanReader`.
        keep_dc: see `SpanReader`.

    Attributes:
        meter: meter of the signal facts.
        channel_meter: meter of the relations of the channels; None if they are not compared.
        waveform: samples at 16 kHz.
    """

    def __init__(self, sound: Sound, compare_channels: bool, keep_dc: bool) -> None:
        rate = sound.samplerate
        self.meter = FactsMeter(rate)
        self.channel_meter = ChannelMeter(rate, sound.channels) if compare_channels and sound.channels > 1 else None
        self.waveform = Waveform(keep_dc)
        self._resampler = None
        if rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        self.meter.add(block)
        if self.channel_meter:
            self.channel_meter.add(block)
        mono = mean_of_channels(block)
        self.waveform.add(self._resampler.resample_chunk(mono) if self._resampler else mono)

    def end(self) -> None:
        """Adds the samples that the resampler and the waveform hold back. Call it after the last block."""
        if self._resampler:
            self.waveform.add(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        self.waveform.end()


class SpanReader:
    """Collects the samples of one span and channel from the blocks of a recording.

    A recording may have tens of thousands of spans, so a reader takes little memory until its span begins.

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

    __slots__ = (
        "_collected",
        "_compare_channels",
        "_keep_dc",
        "_max_duration_s",
        "_num_samples",
        "_read_to",
        "_sound",
        "_span",
        "channel",
        "end",
        "fault",
        "span_index",
        "start",
    )

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
        self._compare_channels, self._keep_dc = compare_channels, keep_dc
        self._collected: _Collected | None = None
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
        if self._collected is None:
            self._collected = _Collected(self._sound, self._compare_channels, self._keep_dc)
        self._collected.add(block)

    def is_complete(self, position: int) -> bool:
        """Returns whether the span needs no sample of the recording from `position` on."""
        return self.fault is not None or (self.end is not None and self.end <= position)

    def choice(self) -> ChannelChoice:
        """Returns the channels to score instead of their mean. Call it after the last block."""
        meter = self._collected.channel_meter if self._collected else None
        return meter.choice() if meter and not self.fault else ChannelChoice()

    def result(self) -> Decoded | AudioFault:
        """Returns the decoded span, or its fault. Call it once, after the last block."""
        return self.fault or self._finish()

    def _finish(self) -> Decoded | AudioFault:
        sound = self._sound
        missing = 0 if self.end is None else self.end - self.start - self._num_samples
        if self._span != WHOLE and (not self._num_samples or missing > SPAN_SLACK_S * sound.samplerate):
            detail = f"{self._span} is not within the recording of {self._read_to / sound.samplerate:.2f} s"
            return AudioFault(Stage.DECODE, Reason.OUTSIDE, detail)
        collected = self._collected or _Collected(sound, False, self._keep_dc)
        collected.end()
        waveform = collected.waveform
        if len(waveform) < FRAME_LENGTH:
            detail = f"{self._num_samples} samples at {sound.samplerate} Hz are less than one frame of 32 ms"
            return AudioFault(Stage.DECODE, Reason.TOO_SHORT, detail)
        if not np.isfinite([waveform.lowest, waveform.highest]).all():
            detail = "the mean of the channels exceeds the range of float32"
            return AudioFault(Stage.DECODE, Reason.NON_FINITE, detail)
        if collected.meter.is_constant():
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
            measured=collected.meter.measure(waveform.power()).with_marks(self.choice().flags),
        )
