"""Which faults there are to choose from, how strong they may be, and how a clip's are drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from transforms.synthesis.codecs import LOSSY
from transforms.synthesis.degradations import (
    BandLimit,
    Clipping,
    Codec,
    DcOffset,
    Degradation,
    Dropouts,
    Hum,
    PacketLoss,
    Reverb,
)
from transforms.synthesis.rooms import RecordedRoom, Room

Range = tuple[float, float]
DrawRoom = Callable[[np.random.Generator, Range], Room | RecordedRoom]


@dataclasses.dataclass(frozen=True, slots=True)
class DegradationKind:
    """What can be asked of a kind of fault.

    Attributes:
        draw: makes one, its strength from the range.
        default: lowest and highest strength; None where it has no strength to choose.
        limits: within which a range must lie.
        unit: of the range.
    """

    draw: Callable[[np.random.Generator, Range, DrawRoom], Degradation]
    default: Range | None = None
    limits: Range = (0.0, 0.0)
    unit: str = ""


def _draw_reverb(rng: np.random.Generator, rt60_s: Range, draw_room: DrawRoom) -> Degradation:
    return Reverb(draw_room(rng, rt60_s))


def _draw_hum(rng: np.random.Generator, snr_db: Range, _: DrawRoom) -> Degradation:
    mains = float(rng.choice([50.0, 60.0])) + float(rng.uniform(-0.1, 0.1))
    count = int(rng.integers(3, 13))
    # Harmonics weaken, the even ones more: rectifiers and cores make odd ones.
    fall = rng.uniform(0.5, 1.5)
    amplitudes = [rng.uniform(0.3, 1.0) * (0.4 if n % 2 == 0 else 1.0) / n**fall for n in range(1, count + 1)]
    phases = rng.uniform(0, 2 * np.pi, count)
    return Hum(mains, float(rng.uniform(*snr_db)), tuple(map(float, amplitudes)), tuple(map(float, phases)))


# The telephone's band, and what half the sample rate of 8 kHz and of 11.025 kHz leave.
BANDS = ((300.0, 3400.0), (0.0, 4000.0), (0.0, 5500.0))


def _draw_band_limit(rng: np.random.Generator, _: Range, __: DrawRoom) -> Degradation:
    return BandLimit(*BANDS[rng.integers(len(BANDS))])


def _draw_clipping(rng: np.random.Generator, overload_db: Range, _: DrawRoom) -> Degradation:
    return Clipping(float(rng.uniform(*overload_db)))


def _draw_dc_offset(rng: np.random.Generator, percent: Range, _: DrawRoom) -> Degradation:
    return DcOffset(float(rng.choice([-1.0, 1.0]) * rng.uniform(*percent) / 100))


def _draw_codec(rng: np.random.Generator, _: Range, __: DrawRoom) -> Degradation:
    family = LOSSY[rng.integers(len(LOSSY))]
    return Codec(family[rng.integers(len(family))])


def _draw_packet_loss(rng: np.random.Generator, percent: Range, _: DrawRoom) -> Degradation:
    return PacketLoss(
        rate=float(rng.uniform(*percent) / 100),
        burst=float(rng.uniform(1.0, 4.0)),
        repeats=bool(rng.integers(2)),
        seed=int(rng.integers(2**32)),
    )


def _draw_dropouts(rng: np.random.Generator, length_ms: Range, _: DrawRoom) -> Degradation:
    count = int(rng.integers(1, 6))
    return Dropouts(tuple((float(rng.random()), float(rng.uniform(*length_ms) / 1000)) for _ in range(count)))


# In the order in which a recording meets them: the room and the mains, the recording chain, the coder, the line.
DEGRADATIONS: Mapping[str, DegradationKind] = {
    Reverb.KIND: DegradationKind(_draw_reverb, (0.2, 1.2), (0.1, 2.0), "s of RT60"),
    Hum.KIND: DegradationKind(_draw_hum, (5.0, 40.0), (-20.0, 60.0), "dB of SNR"),
    BandLimit.KIND: DegradationKind(_draw_band_limit),
    Clipping.KIND: DegradationKind(_draw_clipping, (3.0, 20.0), (0.1, 60.0), "dB of overload"),
    DcOffset.KIND: DegradationKind(_draw_dc_offset, (2.0, 40.0), (0.1, 100.0), "% of the peak"),
    Codec.KIND: DegradationKind(_draw_codec),
    PacketLoss.KIND: DegradationKind(_draw_packet_loss, (1.0, 20.0), (0.1, 60.0), "% of the packets"),
    Dropouts.KIND: DegradationKind(_draw_dropouts, (10.0, 150.0), (2.0, 2000.0), "ms of a gap"),
}
# Noise comes after the room and before all else.
BEFORE_NOISE = {Reverb.KIND}
_NO_RANGE = (0.0, 0.0)


class DegradationError(ValueError):
    """Faults that cannot be asked for."""


def parse_degradations(text: str) -> tuple[tuple[str, Range], ...]:
    """Reads which faults may happen: "clipping=3:20,codec", or "all" with default ranges.

    Returns:
        Kinds with their ranges, in the order in which they happen to a recording.

    Raises:
        FaultError: there is no such fault, it stands twice, or its range cannot be.
    """
    chosen: dict[str, Range] = {}
    for part in ",".join(DEGRADATIONS).split(",") if text == "all" else text.split(","):
        name, given, values = part.strip().partition("=")
        if name not in DEGRADATIONS:
            raise DegradationError(f"there is no fault {name!r}; the faults are {', '.join(DEGRADATIONS)}")
        if name in chosen:
            raise DegradationError(f"{name!r} stands twice")
        chosen[name] = _read_range(name, values) if given else DEGRADATIONS[name].default or _NO_RANGE
    return tuple((name, chosen[name]) for name in DEGRADATIONS if name in chosen)


def _read_range(name: str, text: str) -> Range:
    kind = DEGRADATIONS[name]
    if kind.default is None:
        raise DegradationError(f"{name} takes no range, {name}={text} gives one")
    low, _, high = text.partition(":")
    try:
        found = float(low), float(high or low)
    except ValueError:
        raise DegradationError(f"{name}={text}: {text!r} is neither a number nor LOW:HIGH") from None
    if not kind.limits[0] <= found[0] <= found[1] <= kind.limits[1]:
        lowest, highest = kind.limits
        raise DegradationError(f"{name}={text}: LOW:HIGH must lie within {lowest:g}:{highest:g} ({kind.unit})")
    return found


def draw_degradations(
    rng: np.random.Generator, choice: Sequence[tuple[str, Range]], most: int, draw_room: DrawRoom
) -> tuple[Degradation, ...]:
    """One to `most` faults of different kinds, in the order in which they happen to a recording.

    Args:
        rng: draws them.
        choice: kinds to choose from, with the ranges of their strengths (`parse_degradations`).
        most: how many at most.
        draw_room: draws the room for reverberation, given a range of RT60s.
    """
    count = int(rng.integers(1, min(most, len(choice)) + 1))
    kinds = sorted(rng.choice(len(choice), size=count, replace=False).tolist())
    return tuple(DEGRADATIONS[name].draw(rng, values, draw_room) for name, values in (choice[kind] for kind in kinds))
