"""Degradations by automatic control of the level: pumping gain, and gates that cut soft sounds."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
from scipy.ndimage import maximum_filter1d

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import Degraded, HeardCause, audible, spans_where, whole

# Samples of a block of 5 ms in which levels are measured.
BLOCK = round(0.005 * SAMPLE_RATE)
# Levels are measured down to this one, in dB relative to the loudest block.
LOWEST_DB = -90.0
# Closed blocks count as damaged down to this level under the threshold in dB, and this close to an open block in seconds.
# Softer or farther ones are pauses.
CUT_DB, CUT_S = 15.0, 0.15
# Damaged blocks at most this many samples apart are one span. Shorter spans than this are not heard.
CUT_GAP, CUT_LENGTH = 4 * BLOCK, 2 * BLOCK
# A gate is surely heard as gaps if its gain in dB is at most the first value, and its threshold in dB at least the second.
HARD_DB, CLEARLY_DB = -30.0, -28.0


@dataclasses.dataclass(frozen=True, slots=True)
class GainControl:
    """Automatic gain control that pumps: soft sounds and the noise in pauses swell, and loud sounds push them down.

    Attributes:
        max_gain_db: largest gain of soft sounds relative to loud ones, in dB.
        target_db: level in dB relative to the loudest block, from which the gain is not raised.
        attack_s: time constant with which the gain falls, in seconds.
        release_s: time constant with which the gain rises, in seconds.
    """

    KIND: ClassVar[str] = "gain_control"
    max_gain_db: float
    target_db: float
    attack_s: float
    release_s: float

    @property
    def detail(self) -> str:
        """Gain, target and time constants."""
        times = f"attack {1000 * self.attack_s:.0f} ms, release {1000 * self.release_s:.0f} ms"
        return f"up to {self.max_gain_db:.1f} dB below {self.target_db:.0f} dB, {times}"

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Perhaps noise: a large gain raises the noise in pauses, as far as there is any. Otherwise no cause."""
        return (HeardCause("noise", audible(self.max_gain_db, 10.0, math.inf)),)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Applies the gain, which is linear between the middles of blocks."""
        wanted = np.clip(self.target_db - _levels_db(samples), 0.0, self.max_gain_db)
        falls, rises = (1 - math.exp(-BLOCK / SAMPLE_RATE / time) for time in (self.attack_s, self.release_s))
        gain_db, gains_db = 0.0, []
        for goal in wanted.tolist():
            gain_db += (goal - gain_db) * (rises if goal > gain_db else falls)
            gains_db.append(gain_db)
        return Degraded(_with_gains(samples, 10 ** (np.array(gains_db) / 20)), whole(samples))


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """A noise gate or expander that closes within words and cuts soft sounds and the ends of words.

    Attributes:
        threshold_db: level in dB relative to the loudest block, below which blocks are attenuated.
        hold_s: time before and after a louder block that is not attenuated, in seconds.
        gain_db: gain of the attenuated blocks in dB.
    """

    KIND: ClassVar[str] = "gate"
    threshold_db: float
    hold_s: float
    gain_db: float

    @property
    def detail(self) -> str:
        """Gain, threshold and hold time."""
        return f"{self.gain_db:.0f} dB below {self.threshold_db:.0f} dB, held {1000 * self.hold_s:.0f} ms"

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Dropouts, if the gate is hard and cuts more than the softest sounds."""
        is_sure = self.gain_db <= HARD_DB and self.threshold_db >= CLEARLY_DB
        return (HeardCause("dropouts", True if is_sure else None),)

    def apply(self, samples: np.ndarray) -> Degraded:
        """Attenuates soft blocks. The spans are the soft sounds near loud ones; pauses are attenuated outside them, too."""
        levels_db = _levels_db(samples)
        is_open = _near(levels_db > self.threshold_db, self.hold_s)
        cut = ~is_open & (levels_db > self.threshold_db - CUT_DB) & _near(is_open, CUT_S)
        spans = spans_where(np.repeat(cut, BLOCK)[: len(samples)], CUT_GAP)
        gains = np.where(is_open, 1.0, 10 ** (self.gain_db / 20))
        return Degraded(_with_gains(samples, gains), tuple(span for span in spans if span[1] - span[0] >= CUT_LENGTH))


def _near(blocks: np.ndarray, seconds: float) -> np.ndarray:
    """Returns which blocks are at most `seconds` from a true one: bool [m]."""
    width = 2 * round(seconds * SAMPLE_RATE / BLOCK) + 1
    return maximum_filter1d(blocks.astype(np.uint8), width) > 0 if len(blocks) else blocks


def _levels_db(samples: np.ndarray) -> np.ndarray:
    """Returns the levels of the blocks of samples [n] relative to the loudest one: float64 [m], from `LOWEST_DB` to 0."""
    count = -(-len(samples) // BLOCK)
    blocks = np.zeros(count * BLOCK)
    blocks[: len(samples)] = samples
    powers = np.square(blocks.reshape(count, BLOCK)).mean(axis=1)
    loudest = powers.max(initial=0.0)
    if loudest <= 0.0:
        return np.full(count, LOWEST_DB)
    return 10 * np.log10(np.maximum(powers / loudest, 10 ** (LOWEST_DB / 10)))


def _with_gains(samples: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Multiplies samples [n] with the gains of their blocks, interpolated between the middles of the blocks: float32 [n]."""
    if not len(samples):
        return samples.astype(np.float32)
    middles = np.arange(len(gains)) * BLOCK + (BLOCK - 1) / 2
    return (samples * np.interp(np.arange(len(samples)), middles, gains)).astype(np.float32)
