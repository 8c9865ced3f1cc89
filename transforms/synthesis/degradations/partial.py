"""Degradation of a part of a recording only, as when a line is bad for some seconds."""

from __future__ import annotations

import dataclasses

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import Degradation, Degraded, HeardCause, SampleSpan

# Length of the cross-fades at the ends of the part. A hard cut would add a click, which is a degradation of its own.
FADE = round(0.005 * SAMPLE_RATE)


@dataclasses.dataclass(frozen=True, slots=True)
class Partial:
    """A degradation that applies to a part of the recording.

    The whole recording is degraded and the part is cut from it, so that a level that is relative to the peak or to the power of
    the recording does not depend on the part.

    Attributes:
        degradation: the degradation.
        start: first sample of the part.
        end: sample after the part.
    """

    degradation: Degradation
    start: int
    end: int

    @property
    def KIND(self) -> str:  # noqa: N802, as it is a constant of other degradations
        """Kind of the degradation."""
        return self.degradation.KIND

    @property
    def detail(self) -> str:
        """Description of its strength."""
        return self.degradation.detail

    @property
    def heard(self) -> tuple[HeardCause, ...]:
        """Causes that are heard in the part."""
        return self.degradation.heard

    def apply(self, samples: np.ndarray) -> Degraded:
        """Degrades the part, with cross-fades inside it. Spans are cut at its ends."""
        degraded = self.degradation.apply(samples)
        time = np.arange(len(samples))
        share = np.clip(np.minimum(time - self.start + 1, self.end - time) / (FADE + 1), 0.0, 1.0).astype(np.float32)
        mixed = samples + share * (degraded.samples - samples)
        spans = tuple(span for span in map(self._cut, degraded.spans) if span[0] < span[1])
        return Degraded(mixed.astype(np.float32), spans)

    def _cut(self, span: SampleSpan) -> SampleSpan:
        return max(span[0], self.start), min(span[1], self.end)
