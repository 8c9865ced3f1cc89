"""Acoustic echo: speech that a loudspeaker plays back into the microphone."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from scipy.signal import fftconvolve

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.additive import add_sound
from transforms.synthesis.degradations.base import Degraded, HeardCause, audible
from transforms.synthesis.spectral_filters import high_pass, low_pass, shape_spectrum

# Length of the response of the room in seconds, and level of its tail relative to the direct sound in dB.
ROOM_S, TAIL_DB = 0.2, -6.0
# Delays in seconds from which an echo of the own voice is heard as a second voice: perhaps, and surely. Shorter echoes
# blend with the voice, as reverberation does.
SEPARATE_S, SURELY_SEPARATE_S = 0.1, 0.15


@dataclasses.dataclass(frozen=True, slots=True)
class AcousticEcho:
    """An echo of the recording from a loudspeaker in a room.

    Attributes:
        level_db: power of the echo, where it sounds, relative to the mean power of the recording, in dB.
        delay_s: delay of the echo in seconds.
        is_other_part: whether the echo comes from the other half of the recording, as speech of the far end does.
        low_hz: lower cut-off frequency of the loudspeaker in Hz.
        high_hz: upper cut-off frequency of the loudspeaker in Hz.
        rt60_s: reverberation time of the room in seconds.
        seed: seed of the room's response.
    """

    KIND: ClassVar[str] = "acoustic_echo"
    level_db: float
    delay_s: float
    is_other_part: bool
    low_hz: float
    high_hz: float
    rt60_s: float
    seed: int

    @property
    def detail(self) -> str:
        """Level, delay and loudspeaker."""
        source = "of another part, " if self.is_other_part else ""
        speaker = f"{self.low_hz:.0f} to {self.high_hz:.0f} Hz"
        return f"{source}{self.level_db:.1f} dB after {1000 * self.delay_s:.0f} ms, {speaker}"

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Reverberation or a second voice, by the delay. Speech of another part is always a second voice."""
        if not self.is_other_part and self.delay_s < SEPARATE_S:
            return (HeardCause("reverberation", audible(self.level_db, -30.0, -20.0)),)
        loud_enough = audible(self.level_db, -35.0, -25.0)
        if loud_enough and not self.is_other_part and self.delay_s < SURELY_SEPARATE_S:
            loud_enough = None
        return (HeardCause("second_voice", loud_enough),)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Adds the echo."""
        delay = min(round(self.delay_s * SAMPLE_RATE), len(samples))
        played = np.roll(samples, len(samples) // 2) if self.is_other_part else samples
        echo = np.zeros(len(samples), np.float32)
        echo[delay:] = played[: len(samples) - delay]
        if not echo.any():
            return Degraded(samples.astype(np.float32), ())

        def gain(frequency: np.ndarray) -> np.ndarray:
            return high_pass(frequency, self.low_hz, 2) * low_pass(frequency, self.high_hz, 4)

        heard = fftconvolve(shape_spectrum(echo, gain), self._response())[: len(samples)]
        # The filters ring before the start of the echo.
        heard[:delay] = 0.0
        return add_sound(samples, heard, -self.level_db)

    def _response(self) -> np.ndarray:
        """Makes the response of the room, a direct sound and a decaying tail (see `rooms.simulate`): float32 [m]."""
        seconds = np.arange(round(ROOM_S * SAMPLE_RATE)) / SAMPLE_RATE
        tail = np.random.default_rng(self.seed).normal(size=len(seconds)) * 10 ** (-3 * seconds / self.rt60_s)
        tail *= 10 ** (TAIL_DB / 20) / np.sqrt(np.sum(np.square(tail)))
        tail[0] = 1.0
        return tail.astype(np.float32)
