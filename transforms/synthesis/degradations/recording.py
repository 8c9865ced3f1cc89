"""Degradations of the room and of the recorder: reverberation, hum, a narrow band, clipping and a constant offset."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import NOT_HEARD, Degraded, HeardCause, audible, spans_where, whole
from transforms.synthesis.mix import power
from transforms.synthesis.rooms import RecordedRoom, Room, clarity_db, impulse_response, reverberate
from transforms.synthesis.spectral_filters import high_pass, low_pass, shape_spectrum

# Clipped runs that are at most half a frame apart count as one span.
CLIPPING_GAP = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Reverb:
    """Reverberation of a simulated or recorded room."""

    KIND: ClassVar[str] = "reverb"
    room: Room | RecordedRoom

    @property
    def detail(self) -> str:
        """The room."""
        return str(self.room)

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Reverberation, by the clarity index C50.

        Raises:
            AudioFault: the file of a recorded room cannot be read.
        """
        return (HeardCause("reverberation", audible(-clarity_db(impulse_response(self.room)), -30.0, -20.0)),)

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

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Hum, by its SNR."""
        return (HeardCause("hum", audible(-self.snr_db, -35.0, -25.0)),)

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

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """A narrow band. Speech has little above 7 kHz."""
        return (HeardCause("band_limit", True if self.low_hz >= 200.0 else audible(-self.high_hz, -7_000.0, -6_000.0)),)

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

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Clipping. Few samples are clipped below 3 dB."""
        return (HeardCause("clipping", audible(self.overload_db, 0.5, 3.0)),)

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

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Nothing, because it is inaudible by itself."""
        return NOT_HEARD

    def apply(self, samples: np.ndarray) -> Degraded:
        """Adds the offset."""
        offset = self.share * np.abs(samples).max(initial=0.0)
        return Degraded((samples + offset).astype(np.float32), whole(samples))
