"""The kinds of degradations and the ranges of their strengths, and functions that draw degradations for a clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from transforms.synthesis.degradations.base import Degradation
from transforms.synthesis.degradations.codecs import LOSSY
from transforms.synthesis.degradations.concealment import Concealment
from transforms.synthesis.degradations.disturbances import Handling, Plosives, Wind
from transforms.synthesis.degradations.dynamics import GainControl, Gate
from transforms.synthesis.degradations.echo import AcousticEcho
from transforms.synthesis.degradations.recording import BandLimit, Clipping, DcOffset, Hum, Reverb
from transforms.synthesis.degradations.suppression import Suppression, methods
from transforms.synthesis.degradations.transmission import Codec, Dropouts, Mnru, PacketLoss
from transforms.synthesis.degradations.upsampling import Interpolation, Upsampled
from transforms.synthesis.rooms import MAX_RT60_S, RecordedRoom, Room

Range = tuple[float, float]
DrawRoom = Callable[[np.random.Generator, Range], Room | RecordedRoom]


@dataclasses.dataclass(frozen=True, slots=True)
class DegradationKind:
    """A kind of degradation and the strengths that it may have.

    Attributes:
        draw: function that draws a degradation with a strength from a range.
        default: default range of the strength; None for kinds without a strength.
        limits: lowest and highest strength that a range may contain.
        unit: unit of the strength.
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
    # Higher harmonics are weaker. Even ones are weaker still, because rectifiers and transformer cores make odd ones.
    slope = rng.uniform(0.5, 1.5)
    amplitudes = [rng.uniform(0.3, 1.0) * (0.4 if n % 2 == 0 else 1.0) / n**slope for n in range(1, count + 1)]
    phases = rng.uniform(0, 2 * np.pi, count)
    return Hum(mains, float(rng.uniform(*snr_db)), tuple(map(float, amplitudes)), tuple(map(float, phases)))


def _draw_plosives(rng: np.random.Generator, snr_db: Range, _: DrawRoom) -> Degradation:
    return Plosives(float(rng.uniform(*snr_db)), float(rng.uniform(0.1, 0.8)), _draw_seed(rng))


def _draw_wind(rng: np.random.Generator, snr_db: Range, _: DrawRoom) -> Degradation:
    overload_db = float(rng.uniform(1.0, 12.0)) if rng.random() < 0.3 else 0.0
    return Wind(
        float(rng.uniform(*snr_db)), float(np.exp(rng.uniform(*np.log((80, 400))))), overload_db, _draw_seed(rng)
    )


def _draw_handling(rng: np.random.Generator, snr_db: Range, _: DrawRoom) -> Degradation:
    return Handling(float(rng.uniform(*snr_db)), int(rng.integers(1, 7)), _draw_seed(rng))


def _draw_acoustic_echo(rng: np.random.Generator, level_db: Range, _: DrawRoom) -> Degradation:
    return AcousticEcho(
        level_db=float(rng.uniform(*level_db)),
        delay_s=float(np.exp(rng.uniform(*np.log((0.05, 0.4))))),
        is_other_part=bool(rng.random() < 0.3),
        low_hz=float(rng.uniform(150.0, 500.0)),
        high_hz=float(rng.uniform(2500.0, 7500.0)),
        rt60_s=float(rng.uniform(0.1, 0.5)),
        seed=_draw_seed(rng),
    )


# Bands in Hz of the telephone, and of sampling rates of 8 kHz and 11.025 kHz.
BANDS = ((300.0, 3400.0), (0.0, 4000.0), (0.0, 5500.0))


def _draw_band_limit(rng: np.random.Generator, _: Range, __: DrawRoom) -> Degradation:
    return BandLimit(*BANDS[rng.integers(len(BANDS))])


def _draw_clipping(rng: np.random.Generator, overload_db: Range, _: DrawRoom) -> Degradation:
    return Clipping(float(rng.uniform(*overload_db)))


def _draw_dc_offset(rng: np.random.Generator, percent: Range, _: DrawRoom) -> Degradation:
    return DcOffset(float(rng.choice([-1.0, 1.0]) * rng.uniform(*percent) / 100))


def _draw_suppression(rng: np.random.Generator, excess_db: Range, _: DrawRoom) -> Degradation:
    available = methods()
    method = available[rng.integers(len(available))]
    return Suppression(method, float(rng.uniform(*excess_db)), float(rng.uniform(-40.0, -12.0)))


def _draw_gain_control(rng: np.random.Generator, max_gain_db: Range, _: DrawRoom) -> Degradation:
    attack_s, release_s = np.exp(rng.uniform(np.log((0.005, 0.1)), np.log((0.05, 1.0)))).tolist()
    return GainControl(float(rng.uniform(*max_gain_db)), float(rng.uniform(-15.0, 0.0)), attack_s, release_s)


def _draw_gate(rng: np.random.Generator, threshold_db: Range, _: DrawRoom) -> Degradation:
    hold_s = float(np.exp(rng.uniform(*np.log((0.002, 0.05)))))
    return Gate(float(rng.uniform(*threshold_db)), hold_s, float(rng.uniform(-60.0, -10.0)))


def _draw_mnru(rng: np.random.Generator, q_db: Range, _: DrawRoom) -> Degradation:
    return Mnru(float(rng.uniform(*q_db)), seed=_draw_seed(rng))


LOW_RATES = (4_000, 6_000, 8_000, 11_025)


def _draw_upsampled(rng: np.random.Generator, _: Range, __: DrawRoom) -> Degradation:
    interpolations = tuple(Interpolation)
    return Upsampled(
        LOW_RATES[rng.integers(len(LOW_RATES))],
        interpolations[rng.integers(len(interpolations))],
        aliased=bool(rng.random() < 0.25),
    )


def _draw_codec(rng: np.random.Generator, _: Range, __: DrawRoom) -> Degradation:
    family = LOSSY[rng.integers(len(LOSSY))]
    return Codec(family[rng.integers(len(family))])


def _draw_packet_loss(rng: np.random.Generator, percent: Range, _: DrawRoom) -> Degradation:
    return PacketLoss(
        rate=float(rng.uniform(*percent) / 100),
        burst=float(rng.uniform(1.0, 4.0)),
        concealment=tuple(Concealment)[rng.integers(len(Concealment))],
        seed=int(rng.integers(2**32)),
    )


def _draw_dropouts(rng: np.random.Generator, length_ms: Range, _: DrawRoom) -> Degradation:
    count = int(rng.integers(1, 6))
    return Dropouts(tuple((float(rng.random()), float(rng.uniform(*length_ms) / 1000)) for _ in range(count)))


def _draw_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))


# In the order in which they affect a recording: room and mains, microphone, recording chain, processing, codec, transmission.
DEGRADATIONS: Mapping[str, DegradationKind] = {
    Reverb.KIND: DegradationKind(_draw_reverb, (0.2, 1.2), (0.1, MAX_RT60_S), "s of RT60"),
    Hum.KIND: DegradationKind(_draw_hum, (5.0, 40.0), (-20.0, 60.0), "dB of SNR"),
    AcousticEcho.KIND: DegradationKind(_draw_acoustic_echo, (-30.0, -5.0), (-60.0, 10.0), "dB of the echo's level"),
    Plosives.KIND: DegradationKind(_draw_plosives, (-18.0, 10.0), (-40.0, 60.0), "dB of SNR"),
    Wind.KIND: DegradationKind(_draw_wind, (-15.0, 20.0), (-40.0, 60.0), "dB of SNR"),
    Handling.KIND: DegradationKind(_draw_handling, (-15.0, 20.0), (-40.0, 60.0), "dB of SNR"),
    BandLimit.KIND: DegradationKind(_draw_band_limit),
    Upsampled.KIND: DegradationKind(_draw_upsampled),
    Clipping.KIND: DegradationKind(_draw_clipping, (3.0, 20.0), (0.1, 60.0), "dB of overload"),
    DcOffset.KIND: DegradationKind(_draw_dc_offset, (2.0, 40.0), (0.1, 100.0), "% of the peak"),
    Suppression.KIND: DegradationKind(_draw_suppression, (0.0, 15.0), (-6.0, 30.0), "dB of overestimated noise"),
    GainControl.KIND: DegradationKind(_draw_gain_control, (6.0, 30.0), (1.0, 60.0), "dB of the largest gain"),
    Gate.KIND: DegradationKind(_draw_gate, (-35.0, -12.0), (-60.0, -1.0), "dB relative to the loudest sound"),
    Mnru.KIND: DegradationKind(_draw_mnru, (5.0, 35.0), (-10.0, 60.0), "dB of Q"),
    Codec.KIND: DegradationKind(_draw_codec),
    PacketLoss.KIND: DegradationKind(_draw_packet_loss, (1.0, 20.0), (0.1, 60.0), "% of the packets"),
    Dropouts.KIND: DegradationKind(_draw_dropouts, (10.0, 150.0), (2.0, 2000.0), "ms of a gap"),
}
# Kinds that are applied before the noise is added. The others are applied after it.
BEFORE_NOISE = {Reverb.KIND}
# Kinds that add a sound to the speech, which counts in its SNR. An echo that is heard as reverberation does not.
ADDITIVE = {Hum.KIND, AcousticEcho.KIND, Plosives.KIND, Wind.KIND, Handling.KIND}
# Kinds that change the SNR of the speech to the sounds before them by an unknown amount.
CHANGES_SNR = {Suppression.KIND, GainControl.KIND, Gate.KIND}
_NO_RANGE = (0.0, 0.0)


class DegradationError(ValueError):
    """A choice of degradations is not valid."""


def parse_degradations(text: str) -> tuple[tuple[str, Range], ...]:
    """Parses a choice of degradations, such as "clipping=3:20,codec", or "all" for all kinds with their default ranges.

    Returns:
        Kinds with their ranges, in the order of `DEGRADATIONS`.

    Raises:
        DegradationError: a kind is unknown or occurs twice, or its range is invalid.
    """
    chosen: dict[str, Range] = {}
    for part in ",".join(DEGRADATIONS).split(",") if text == "all" else text.split(","):
        name, equals_sign, values = part.strip().partition("=")
        if name not in DEGRADATIONS:
            raise DegradationError(f"unknown kind {name!r}; choose from {', '.join(DEGRADATIONS)}")
        if name in chosen:
            raise DegradationError(f"{name!r} occurs twice")
        chosen[name] = _read_range(name, values) if equals_sign else DEGRADATIONS[name].default or _NO_RANGE
    return tuple((name, chosen[name]) for name in DEGRADATIONS if name in chosen)


def _read_range(name: str, text: str) -> Range:
    kind = DEGRADATIONS[name]
    if kind.default is None:
        raise DegradationError(f"{name}={text}: {name} takes no range")
    low, _, high = text.partition(":")
    try:
        lowest, highest = float(low), float(high or low)
    except ValueError:
        raise DegradationError(f"{name}={text}: {text!r} is neither a number nor LOW:HIGH") from None
    if not kind.limits[0] <= lowest <= highest <= kind.limits[1]:
        limits = f"{kind.limits[0]:g}:{kind.limits[1]:g}"
        raise DegradationError(f"{name}={text}: LOW:HIGH must lie within {limits} ({kind.unit})")
    return lowest, highest


def draw_degradations(
    rng: np.random.Generator, kinds: Sequence[tuple[str, Range]], max_count: int, draw_room: DrawRoom
) -> tuple[Degradation, ...]:
    """Draws one to `max_count` degradations of different kinds, in the order of `kinds`.

    Args:
        rng: random generator.
        kinds: kinds to draw from, with the ranges of their strengths (`parse_degradations`).
        max_count: largest number of degradations, at least 1.
        draw_room: function that draws a room from a range of RT60 in seconds.
    """
    count = int(rng.integers(1, min(max_count, len(kinds)) + 1))
    drawn = sorted(rng.choice(len(kinds), size=count, replace=False).tolist())
    return tuple(DEGRADATIONS[name].draw(rng, values, draw_room) for name, values in (kinds[index] for index in drawn))
