"""Degradations of coding and transmission: codecs, modulated noise, lost packets and gaps."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import Degraded, HeardCause, audible, spans_where, whole
from transforms.synthesis.degradations.codecs import Coding, transcode
from transforms.synthesis.degradations.concealment import PACKET, PITCH_OVERLAP, Concealment, conceal

# Samples of the ramps at the ends of a dropout.
DROPOUT_RAMP = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """Lossy coding."""

    KIND: ClassVar[str] = "codec"
    coding: Coding

    @property
    def detail(self) -> str:
        """The coding."""
        return str(self.coding)

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Coding, and a narrow band where the coded signal has one."""
        coding = HeardCause("codec", self.coding.audible)
        return (coding, HeardCause("band_limit")) if self.coding.is_narrow else (coding,)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Encodes and decodes the samples."""
        return Degraded(transcode(samples, self.coding), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class Mnru:
    """Noise that follows the signal, as quantisation does: the modulated noise reference unit (MNRU) of ITU-T P.810.

    Attributes:
        q_db: ratio of the signal to the noise in dB, at any moment.
        seed: seed of the noise.
    """

    KIND: ClassVar[str] = "mnru"
    q_db: float
    seed: int

    @property
    def detail(self) -> str:
        """The ratio."""
        return f"Q of {self.q_db:.1f} dB"

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Noise, by its ratio."""
        return (HeardCause("noise", audible(-self.q_db, -38.0, -30.0)),)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Multiplies the samples by 1 + 10^(-Q/20) n, where n is Gaussian with a variance of 1."""
        noise = np.random.default_rng(self.seed).standard_normal(len(samples), np.float32)
        return Degraded(samples * (1 + np.float32(10 ** (-self.q_db / 20)) * noise), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class PacketLoss:
    """Lost packets of 20 ms, in bursts (Gilbert's model: two states, one of which loses every packet).

    Attributes:
        rate: share of the packets that are lost, 0 to 1.
        burst: mean number of consecutive lost packets.
        concealment: replacement of the lost packets.
        seed: seed of the random losses.
    """

    KIND: ClassVar[str] = "packet_loss"
    rate: float
    burst: float
    concealment: Concealment
    seed: int

    @property
    def detail(self) -> str:
        """Rate, bursts and concealment."""
        return f"{100 * self.rate:.1f} % in bursts of {self.burst:.1f}, {self.concealment}"

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Gaps if the lost packets are silent. Concealed ones sound like a poor codec: rough, metallic or warbling."""
        return (HeardCause("dropouts" if self.concealment is Concealment.SILENT else "codec"),)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Replaces the lost packets, at least one."""
        packets = self._lost(np.random.default_rng(self.seed), -(-len(samples) // PACKET))
        lost = np.repeat(packets, PACKET)[: len(samples)]
        concealed = conceal(samples, spans_where(lost), self.concealment)
        if self.concealment is Concealment.PITCH:
            # The start of the next packet is cross-faded.
            lost = lost | np.convolve(lost, np.ones(PITCH_OVERLAP + 1))[: len(lost)].astype(bool)
        return Degraded(concealed, spans_where(lost))

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

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Dropouts, by the longest one."""
        return (HeardCause("dropouts", audible(max(length for _, length in self.gaps), 0.003, 0.010)),)

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
