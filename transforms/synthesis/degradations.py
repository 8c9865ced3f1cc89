"""Faults that real corpora have. Each is a small value that says what is done, and does it: length and timing stay."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Protocol

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.codecs import Coding, transcode
from transforms.synthesis.mix import power
from transforms.synthesis.rooms import RecordedRoom, Room, impulse_response, reverberate
from transforms.synthesis.spectral_filters import high_pass, low_pass, shape_spectrum

Span = tuple[int, int]

PACKET = round(0.020 * SAMPLE_RATE)
# A packet that is repeated in the place of others fades by this factor each time.
REPEAT_FADE = 0.7
# Ramps at the ends of a dropout: a switch, not a knife.
DROPOUT_RAMP = 16
# Clipped runs closer than a frame's half are one.
CLIPPING_GAP = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Degraded:
    """What a fault leaves.

    Attributes:
        samples: float32 [n].
        spans: where it did something, [start, end) in samples, within 0 to n, ascending, apart from each other.
    """

    samples: np.ndarray
    spans: tuple[Span, ...]


class Degradation(Protocol):
    """A fault with all that was drawn for it."""

    KIND: ClassVar[str]

    @property
    def detail(self) -> str:
        """How strong it is, for people."""

    def apply(self, samples: np.ndarray) -> Degraded:
        """Does it to samples [n] at 16 kHz of any level, which stay as they are; the same every time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reverb:
    """Speech in a room, simulated or recorded. It raises AudioFault where the recorded one cannot be read."""

    KIND: ClassVar[str] = "reverb"
    room: Room | RecordedRoom

    @property
    def detail(self) -> str:
        """The room."""
        return str(self.room)

    def apply(self, samples: np.ndarray) -> Degraded:
        """The level stays, and the direct sound stays in its place."""
        return Degraded(reverberate(samples, impulse_response(self.room)), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class Hum:
    """The mains: a tone and its harmonics, so many dB under the power of the signal that it comes to.

    Attributes:
        frequency_hz: of the mains, 50 or 60 or nearly so.
        snr_db: of the signal's mean power to that of all the hum.
        amplitudes: of the tone and its harmonics, one to another.
        phases: of each, in radians.
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
        # Harmonic h is the h-th power of e^(i w t): by Horner's scheme one exponential serves for all.
        turn = np.exp(2j * np.pi * self.frequency_hz / SAMPLE_RATE * np.arange(len(samples))).astype(np.complex64)
        hum = np.zeros(len(samples), np.complex64)
        for amplitude, phase in zip(reversed(self.amplitudes), reversed(self.phases), strict=True):
            hum += np.complex64(amplitude * np.exp(1j * phase))
            hum *= turn
        scale = np.sqrt(power(samples) / (np.sum(np.square(self.amplitudes)) / 2) / 10 ** (self.snr_db / 10))
        return Degraded((samples + np.float32(scale) * hum.imag).astype(np.float32), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class BandLimit:
    """A narrow band: a telephone's, or what a low sample rate leaves."""

    KIND: ClassVar[str] = "band_limit"
    low_hz: float
    high_hz: float

    @property
    def detail(self) -> str:
        """The band."""
        return f"{self.low_hz:g} to {self.high_hz:g} Hz"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Cuts steeply above and less so below."""

        def gain(frequency: np.ndarray) -> np.ndarray:
            found = low_pass(frequency, self.high_hz, 16)
            return found * high_pass(frequency, self.low_hz, 4) if self.low_hz > 0 else found

        return Degraded(shape_spectrum(samples, gain), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class Clipping:
    """A recorder that was set too loud: the peak lies so many dB over what it can hold."""

    KIND: ClassVar[str] = "clipping"
    overload_db: float

    @property
    def detail(self) -> str:
        """The overload."""
        return f"{self.overload_db:.1f} dB over"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Cuts off what is over."""
        ceiling = np.abs(samples).max(initial=0.0) * 10 ** (-self.overload_db / 20)
        clipped = np.abs(samples) > ceiling
        return Degraded(np.clip(samples, -ceiling, ceiling).astype(np.float32), spans_where(clipped, CLIPPING_GAP))


@dataclasses.dataclass(frozen=True, slots=True)
class DcOffset:
    """A recorder whose zero is off, by a share of the signal's peak."""

    KIND: ClassVar[str] = "dc_offset"
    share: float

    @property
    def detail(self) -> str:
        """The offset."""
        return f"{100 * self.share:.1f} % of the peak"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Moves the zero."""
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
        """Codes and decodes."""
        return Degraded(transcode(samples, self.coding), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class PacketLoss:
    """Packets of 20 ms that did not come, in bursts (Gilbert's model: two states, one of which loses all).

    Attributes:
        rate: share of the packets that is lost.
        burst: mean number of packets lost one after another.
        repeats: whether the last packet that came is heard in their place, fading; else nothing is.
        seed: decides which.
    """

    KIND: ClassVar[str] = "packet_loss"
    rate: float
    burst: float
    repeats: bool
    seed: int

    @property
    def detail(self) -> str:
        """Rate, bursts and concealment."""
        heard = "repeated" if self.repeats else "silent"
        return f"{100 * self.rate:.1f} % in bursts of {self.burst:.1f}, {heard}"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Loses the packets, one at least."""
        rng = np.random.default_rng(self.seed)
        count = -(-len(samples) // PACKET)
        lost = self._lost(rng, count)
        heard = np.zeros(count * PACKET, np.float32)
        heard[: len(samples)] = samples
        packets = heard.reshape(count, PACKET)
        for number in np.flatnonzero(lost):
            repeated = self.repeats and number > 0
            packets[number] = packets[number - 1] * np.float32(REPEAT_FADE) if repeated else 0.0
        spans = spans_where(np.repeat(lost, PACKET)[: len(samples)])
        return Degraded(heard[: len(samples)], spans)

    def _lost(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Which of the packets are lost, bool [count]."""
        ends = 1 / self.burst
        begins = min(1.0, self.rate * ends / (1 - self.rate))
        lost = np.zeros(count, bool)
        losing = rng.random() < self.rate
        for number, chance in enumerate(rng.random(count)):
            lost[number] = losing
            losing = chance >= ends if losing else chance < begins
        if count and not lost.any():
            lost[rng.integers(count)] = True
        return lost


@dataclasses.dataclass(frozen=True, slots=True)
class Dropouts:
    """Short gaps of digital silence.

    Attributes:
        gaps: each the place of its middle, as a share of the recording, and its length in s.
    """

    KIND: ClassVar[str] = "dropouts"
    gaps: tuple[tuple[float, float], ...]

    @property
    def detail(self) -> str:
        """How many and how long."""
        return f"{len(self.gaps)} of {', '.join(f'{1000 * length:.0f}' for _, length in self.gaps)} ms"

    def apply(self, samples: np.ndarray) -> Degraded:
        """Silences the gaps, over ramps of 1 ms within them."""
        silent = np.zeros(len(samples), bool)
        heard = samples.astype(np.float32)
        for place, length_s in self.gaps:
            length = min(round(length_s * SAMPLE_RATE), len(samples))
            start = round(place * (len(samples) - length))
            silent[start : start + length] = True
            ramp = np.clip(np.abs(np.arange(length) - (length - 1) / 2) - (length - 1) / 2 + DROPOUT_RAMP, 0, None)
            heard[start : start + length] *= (ramp / (DROPOUT_RAMP + 1)).astype(np.float32)
        return Degraded(heard, spans_where(silent))


def whole(samples: np.ndarray) -> tuple[Span, ...]:
    """The span of all samples [n]."""
    return ((0, len(samples)),) if len(samples) else ()


def spans_where(mask: np.ndarray, gap: int = 0) -> tuple[Span, ...]:
    """The runs of True in bool [n] as [start, end); those no more than `gap` apart are one."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    spans: list[Span] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if spans and start - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return tuple(spans)
