"""How far a measure can be trusted: 95 % intervals from resampling the speakers of a set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

LEVEL = 0.95
# Weights that are held at a time: 32 MB, and a few times that within a measure.
_WEIGHTS_AT_A_TIME = 4_000_000

# Weights [R, N] of N items in R resamples -> measures by name, [R] each (see `metrics`).
Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A measure and its 95 % interval.

    Attributes:
        value: on the set itself; NaN where it is not defined.
        resampled: on each resample of the set [R], NaN where it is not defined.
    """

    value: float
    resampled: np.ndarray

    @property
    def interval(self) -> tuple[float, float] | None:
        """The middle 95 % of the resamples; None if there are none, or the measure is not defined in most of them."""
        defined = self.resampled[np.isfinite(self.resampled)]
        if not math.isfinite(self.value) or not len(defined) or len(defined) < len(self.resampled) / 2:
            return None
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two measures of the same resamples, which is surer than each of them."""
        return Estimate(self.value - other.value, self.resampled - other.resampled)

    def as_dict(self) -> dict[str, float | None]:
        """{"value", "low", "high"} for JSON, which has no NaN: null."""
        low, high = self.interval or (None, None)
        return {"value": self.value if math.isfinite(self.value) else None, "low": low, "high": high}


class Resamples:
    """Resamples of a set of clips: of G speakers, G are drawn with replacement, each with all of its clips.

    Clips of one speaker are alike: resampling them one by one would take each for a witness of its own and give
    intervals that are too narrow. Every measure of a set is taken on the same resamples, so that measures can be
    compared.

    Args:
        speakers: who speaks in each clip [N].
        resamples: how many; 0 for no intervals.
        seed: of the draws.
    """

    def __init__(self, speakers: Sequence[str], resamples: int, seed: int) -> None:
        names, self._speaker = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / max(len(names), 1)), size=resamples)
        # The first row is the set itself.
        self._counts = np.concatenate([np.ones((1, len(names)), np.int64), drawn])

    def speakers(self, items: np.ndarray) -> int:
        """How many speakers are heard in the clips with the numbers `items`."""
        return len(np.unique(self._speaker[items]))

    def estimate(self, statistic: Statistic, items: np.ndarray) -> dict[str, Estimate]:
        """Measures some clips of the set.

        Args:
            statistic: what to measure; weight column i is that of `items[i]`.
            items: numbers of the clips [n]; a number may stand more than once, as for every frame of its clip.

        Returns:
            The measures by name. Those of a single speaker have no interval.
        """
        speaker = self._speaker[items]
        counts = self._counts if len(np.unique(speaker)) > 1 else self._counts[:1]
        rows = max(1, _WEIGHTS_AT_A_TIME // max(len(items), 1))
        parts = [
            statistic(counts[first : first + rows, speaker].astype(np.float64)) for first in range(0, len(counts), rows)
        ]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {name: Estimate(float(values[0]), values[1:]) for name, values in found.items()}
