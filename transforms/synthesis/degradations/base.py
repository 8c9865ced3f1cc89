"""Interface of all degradations. Each is a dataclass of its parameters, and keeps the length and the timing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np

# A part of a recording, [start, end) in samples.
SampleSpan = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Degraded:
    """The result of a degradation.

    Attributes:
        samples: degraded samples: float32 [n].
        spans: degraded parts, [start, end) in samples within 0 to n, ascending and disjoint.
    """

    samples: np.ndarray
    spans: tuple[SampleSpan, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class HeardCause:
    """A cause of damage that listeners hear in a degradation.

    Attributes:
        cause: one of `HEARD_CAUSES`; None if a degradation is none of them, such as an offset.
        audible: whether listeners would hear it; None if that is uncertain.
    """

    cause: str | None
    audible: bool | None = True


NOT_HEARD = (HeardCause(None, False),)
# A change by this much less than the mean power of the recording may be heard, and is not heard, in dB: a gap in a pause.
UNSURE_CHANGE_DB, INAUDIBLE_CHANGE_DB = -45.0, -60.0


def audible(strength: float, unsure_from: float, sure_from: float) -> bool | None:
    """Returns whether a strength is audible: from `sure_from`; uncertain from `unsure_from`; else not."""
    if strength >= sure_from:
        return True
    return None if strength >= unsure_from else False


class Degradation(Protocol):
    """A degradation with its parameters."""

    @property
    def KIND(self) -> str:  # noqa: N802, as it is a constant of most classes
        """Kind of the degradation."""

    @property
    def detail(self) -> str:
        """Description of its strength."""

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Causes that are heard in its spans, at least one, without repetition."""

    def apply(self, samples: np.ndarray) -> Degraded:
        """Degrades samples [n] at 16 kHz, of any level. The result is deterministic, and the argument is not changed."""


def heard_spans(
    heard: tuple[HeardCause, ...], before: np.ndarray, degraded: Degraded
) -> Iterator[tuple[SampleSpan, HeardCause]]:
    """Yields the degraded spans with the causes that are heard in them: the same gap is heard in speech, and not in a pause.

    Args:
        heard: causes that are heard in the degradation.
        before: recording before the degradation: float [n].
        degraded: the result of the degradation.
    """
    power = _mean_power(before)
    unsure, inaudible = (power * 10 ** (limit_db / 10) for limit_db in (UNSURE_CHANGE_DB, INAUDIBLE_CHANGE_DB))
    for start, end in degraded.spans:
        change = _mean_power(degraded.samples[start:end] - before[start:end])
        for item in heard:
            is_heard = item.audible
            if is_heard and change <= unsure:
                is_heard = None if change > inaudible else False
            yield (start, end), HeardCause(item.cause, is_heard)


def _mean_power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


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
