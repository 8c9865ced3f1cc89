"""95 % intervals of measures, by resampling the speakers of a set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

LEVEL = 0.95
# Weights in memory at a time: 32 MB, and a few times that inside a measure.
WEIGHTS_AT_A_TIME = 4_000_000

# Weights [R, N] of N items in R resamples -> measures by name, [R] each (as in `metrics`).
Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A measure and its 95 % interval.

    Attributes:
        value: measure on the set itself; NaN if it is undefined.
        resampled: measure on each resample of the set [R]; NaN where it is undefined.
    """

    value: float
    resampled: np.ndarray

    @property
    def interval(self) -> tuple[float, float] | None:
        """Middle 95 % of the resamples; None if there are none, or if the measure is undefined in most of them."""
        defined = self.resampled[np.isfinite(self.resampled)]
        if not math.isfinite(self.value) or not len(defined) or len(defined) < len(self.resampled) / 2:
            return None
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def __sub__(self, other: Estimate) -> Estimate:
        """Returns the difference of two measures on the same resamples; its interval is usually narrower than theirs."""
        return Estimate(self.value - other.value, self.resampled - other.resampled)

    def as_dict(self) -> dict[str, float | None]:
        """Returns {"value", "low", "high"} for JSON; NaN becomes None."""
        low, high = self.interval or (None, None)
        return {"value": self.value if math.isfinite(self.value) else None, "low": low, "high": high}


class Resamples:
    """Resamples of a set of clips: G of its G speakers, drawn with replacement, each with all of their clips.

    Clips of one speaker are alike. Resampling single clips would treat them as independent and give intervals that are
    too narrow. All measures of a set use the same resamples, so that their differences have intervals too.

    Args:
        speakers: speaker of each clip [N].
        resamples: number of resamples; 0 for no intervals.
        seed: seed of the draws.
    """

    def __init__(self, speakers: Sequence[str], resamples: int, seed: int) -> None:
        names, self._speaker = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / max(len(names), 1)), size=resamples)
        # Row 0 is the set itself.
        self._counts = np.concatenate([np.ones((1, len(names)), np.int64), drawn])

    def speakers(self, items: np.ndarray) -> int:
        """Returns the number of speakers of the clips with the indices `items`."""
        return len(np.unique(self._speaker[items]))

    def first_of_speaker(self, items: np.ndarray) -> np.ndarray:
        """Returns for each clip the index of the first clip of its speaker, which has the same weight in all resamples.

        Args:
            items: indices of clips [n].
        """
        _, first = np.unique(self._speaker, return_index=True)
        return np.asarray(first[self._speaker[items]])

    def estimate(self, statistic: Statistic, items: np.ndarray) -> dict[str, Estimate]:
        """Returns measures of some clips of the set.

        Args:
            statistic: function of the weights [R, n]; column i is the weight of `items[i]`.
            items: indices of the clips [n]; an index may be repeated, for instance for each frame of a clip.

        Returns:
            Measures by name. Measures of a single speaker have no interval.
        """
        speaker = self._speaker[items]
        counts = self._counts if len(np.unique(speaker)) > 1 else self._counts[:1]
        rows = max(1, WEIGHTS_AT_A_TIME // max(len(items), 1))
        parts = [
            statistic(counts[first : first + rows, speaker].astype(np.float64)) for first in range(0, len(counts), rows)
        ]
        values_of = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {name: Estimate(float(values[0]), values[1:]) for name, values in values_of.items()}
