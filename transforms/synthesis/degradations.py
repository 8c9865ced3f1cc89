"""Degradations that occur in real corpora. Each is a dataclass of its parameters, and keeps the length and the timing."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Protocol

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.codecs import Coding, transcode
from transforms.synthesis.mix import power
from transforms.synthesis.rooms import RecordedRoom, Room, impulse_response, reverberate
from transforms.synthesis.spectral_filters import high_pass, low_pass, shape_spectrum

# A part of a recording, [start, end) in samples.
SampleSpan = tuple[int, int]

# Samples of a packet of 20 ms.
PACKET = round(0.020 * SAMPLE_RATE)
# Gain from one repetition of a packet to the next, where repetitions conceal lost packets.
REPEAT_FADE = 0.7
# Samples of the ramps at the ends of a dropout.
DROPOUT_RAMP = 16
# Clipped runs that are at most half a frame apart count as one span.
CLIPPING_GAP = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Degraded:
    """The result of a degradation.

    Attributes:
        samples: degraded samples: float32 [n].
        spans: degraded parts, [start, end) in samples within 0 to n, ascending and disjoint.
    """

    samples: np.ndarray
    spans: tuple[SampleSpan, ...]


class Degradation(Protocol):
    """A degradation with its parameters."""

    KIND: ClassVar[str]

    @property
    def detail(self) -> str:
        """Description of its strength."""

    def apply(self, samples: np.ndarray) -> Degraded:
        """Degrades samples [n] at 16 kHz, of any level. The result is deterministic, and the argument is not changed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reverb:
    """Reverberation of a simulated or recorded room."""

    KIND: ClassVar[str] = "reverb"
    room: Room | RecordedRoom

    @property
    def detail(self) -> str:
        """The room."""
        return str(self.room)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Adds the reverberation. The level of the signal and the position of the direct sound are kept.

        Raises:
            AudioFault: the file of a recorded room cannot be read.
        """
        return Degraded(reverberate(samples, impulse_response(self.room)), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class Hum:
    """Hum of the mains: a tone and its harmonics.

    Attributes:
        frequency_hz: mains frequency in Hz, near 50 or 60.
        snr_db: ratio of the mean power of the signal to that of the hum, in dB.
        amplitudes: relative amplitudes of the tone and its harmonics.
        phases: phases of the tone and its harmonics, in radians.
    """

    KIND: ClassVar[str] = "hum"
    frequency_hz: float
    snr_db: float
    amplitudes: tuple[float, ...]
    phases: tuple[float, ...]

    @property
    def detail(self) -> str:
        """Frequency and level."""
        return f"{self.frequency_hz:.1f} Hz at an SNR of {self.snr_db:.1f} dB"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Adds the tones."""
        # Harmonic h is the h-th power of e^(i w t), so Horner's scheme needs only one exponential.
        rotation = np.exp(2j * np.pi * self.frequency_hz / SAMPLE_RATE * np.arange(len(samples))).astype(np.complex64)
        hum = np.zeros(len(samples), np.complex64)
        for amplitude, phase in zip(reversed(self.amplitudes), reversed(self.phases), strict=True):
            hum += np.complex64(amplitude * np.exp(1j * phase))
            hum *= rotation
        scale = np.sqrt(power(samples) / (np.sum(np.square(self.amplitudes)) / 2) / 10 ** (self.snr_db / 10))
        return Degraded((samples + np.float32(scale) * hum.imag).astype(np.float32), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class BandLimit:
    """A narrow band, for example of a telephone or of a low sampling rate.

    Attributes:
        low_hz: lower cut-off frequency in Hz; 0 for none.
        high_hz: upper cut-off frequency in Hz.
    """

    KIND: ClassVar[str] = "band_limit"
    low_hz: float
    high_hz: float

    @property
    def detail(self) -> str:
        """The band."""
        return f"{self.low_hz:g} to {self.high_hz:g} Hz"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Attenuates frequencies outside the band, more steeply at the upper end."""

        def gain(frequency: np.ndarray) -> np.ndarray:
            low_passed = low_pass(frequency, self.high_hz, 16)
            return low_passed * high_pass(frequency, self.low_hz, 4) if self.low_hz > 0 else low_passed

        return Degraded(shape_spectrum(samples, gain), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class Clipping:
    """Clipping by a recorder with too much gain: the peak exceeds full scale by `overload_db`."""

    KIND: ClassVar[str] = "clipping"
    overload_db: float

    @property
    def detail(self) -> str:
        """The overload."""
        return f"{self.overload_db:.1f} dB over"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Clips the samples at `overload_db` below their peak."""
        ceiling = np.abs(samples).max(initial=0.0) * 10 ** (-self.overload_db / 20)
        clipped = np.abs(samples) > ceiling
        return Degraded(np.clip(samples, -ceiling, ceiling).astype(np.float32), spans_where(clipped, CLIPPING_GAP))


@dataclasses.dataclass(frozen=True, slots=True)
class DcOffset:
    """A constant offset.

    Attributes:
        share: offset as a share of the peak of the signal, -1 to 1.
    """

    KIND: ClassVar[str] = "dc_offset"
    share: float

    @property
    def detail(self) -> str:
        """The offset."""
        return f"{100 * self.share:.1f} % of the peak"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Adds the offset."""
        offset = self.share * np.abs(samples).max(initial=0.0)
        return Degraded((samples + offset).astype(np.float32), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """Lossy coding."""

    KIND: ClassVar[str] = "codec"
    coding: Coding

    @property
    def detail(self) -> str:
        """The coding."""
        return str(self.coding)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Encodes and decodes the samples."""
        return Degraded(transcode(samples, self.coding), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class PacketLoss:
    """Lost packets of 20 ms, in bursts (Gilbert's model: two states, one of which loses every packet).

    Attributes:
        rate: share of the packets that are lost, 0 to 1.
        burst: mean number of consecutive lost packets.
        repeats: whether lost packets are replaced by fading repetitions of the last one received; otherwise they are silent.
        seed: seed of the random losses.
    """

    KIND: ClassVar[str] = "packet_loss"
    rate: float
    burst: float
    repeats: bool
    seed: int

    @property
    def detail(self) -> str:
        """Rate, bursts and concealment."""
        concealment = "repeated" if self.repeats else "silent"
        return f"{100 * self.rate:.1f} % in bursts of {self.burst:.1f}, {concealment}"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Removes the lost packets, at least one."""
        rng = np.random.default_rng(self.seed)
        count = -(-len(samples) // PACKET)
        lost = self._lost(rng, count)
        padded = np.zeros(count * PACKET, np.float32)
        padded[: len(samples)] = samples
        packets = padded.reshape(count, PACKET)
        for number in np.flatnonzero(lost):
            is_repeated = self.repeats and number > 0
            packets[number] = packets[number - 1] * np.float32(REPEAT_FADE) if is_repeated else 0.0
        spans = spans_where(np.repeat(lost, PACKET)[: len(samples)])
        return Degraded(padded[: len(samples)], spans)

    def _lost(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draws the lost packets: bool [count]."""
        ends = 1 / self.burst
        begins = min(1.0, self.rate * ends / (1 - self.rate))
        lost = np.zeros(count, bool)
        is_losing = rng.random() < self.rate
        for number, chance in enumerate(rng.random(count)):
            lost[number] = is_losing
            is_losing = chance >= ends if is_losing else chance < begins
        if count and not lost.any():
            lost[rng.integers(count)] = True
        return lost


@dataclasses.dataclass(frozen=True, slots=True)
class Dropouts:
    """Short gaps of digital silence.

    Attributes:
        gaps: position of each gap, as a share of the recording, and its length in seconds.
    """

    KIND: ClassVar[str] = "dropouts"
    gaps: tuple[tuple[float, float], ...]

    @property
    def detail(self) -> str:
        """Number and lengths of the gaps."""
        return f"{len(self.gaps)} of {', '.join(f'{1000 * length:.0f}' for _, length in self.gaps)} ms"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Silences the gaps, with ramps of 1 ms within them."""
        silent = np.zeros(len(samples), bool)
        degraded = samples.astype(np.float32)
        for position, length_s in self.gaps:
            length = min(round(length_s * SAMPLE_RATE), len(samples))
            start = round(position * (len(samples) - length))
            silent[start : start + length] = True
            ramp = np.clip(np.abs(np.arange(length) - (length - 1) / 2) - (length - 1) / 2 + DROPOUT_RAMP, 0, None)
            degraded[start : start + length] *= (ramp / (DROPOUT_RAMP + 1)).astype(np.float32)
        return Degraded(degraded, spans_where(silent))


def whole(samples: np.ndarray) -> tuple[SampleSpan, ...]:
    """Returns a single span over all samples [n]; none if n is 0."""
    return ((0, len(samples)),) if len(samples) else ()


def spans_where(mask: np.ndarray, gap: int = 0) -> tuple[SampleSpan, ...]:
    """Returns the runs of True in bool [n] as [start, end). Runs at most `gap` apart are joined."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    spans: list[SampleSpan] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if spans and start - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return tuple(spans)
