"""Plan of trimming: the stretches to cut out of utterances, and the limits of the length of segments."""

from __future__ import annotations

import dataclasses
import re

from model.diagnosis import HEARD_CAUSES
from model.labels import LabelScale

# Shortest span that trimming may keep: a span needs several frames.
LEAST_S = 0.1
# Shortest segment of speech: a segment needs a word or two.
LEAST_SEGMENT_S = 0.5
ANOMALIES = "anomalies"

_CONDITION = re.compile(r"score\s*<\s*(\d+(?:\.\d*)?|\.\d+)", re.IGNORECASE)


class TrimError(ValueError):
    """The utterances of an output cannot be trimmed."""


@dataclasses.dataclass(frozen=True)
class TrimPlan:
    """The stretches that trimming cuts out. A stretch of any of these kinds is cut.

    Attributes:
        anomalies: whether all anomalies are cut.
        causes: causes of damage whose stretches are cut.
        below: stretches whose frame scores are below this value are cut; None for none.
        min_s: shortest span to keep, in seconds; at least `LEAST_S`.
        pad_s: margin that is cut off on both sides of a stretch, in seconds.
    """

    anomalies: bool = True
    causes: tuple[str, ...] = ()
    below: float | None = None
    min_s: float = 1.0
    pad_s: float = 0.1

    def __str__(self) -> str:
        condition = () if self.below is None else (f"score < {self.below:g}",)
        return ",".join([*((ANOMALIES,) if self.anomalies else ()), *condition, *self.causes])

    @property
    def reads_frames(self) -> bool:
        """Whether the stretches are found in `frames`."""
        return bool(self.causes) or self.below is not None

    def check_scale(self, scale: LabelScale) -> None:
        """Checks that the value of the condition is within the scale of the scores.

        Raises:
            TrimError: all frames meet the condition, or none can.
        """
        if self.below is not None and not scale.low < self.below <= scale.high:
            amount = "nothing" if self.below <= scale.low else "everything"
            raise TrimError(
                f"--trim 'score < {self.below:g}' cuts {amount}: the scores are "
                f"on {scale.name}, from {scale.low:g} to {scale.high:g}"
            )


@dataclasses.dataclass(frozen=True)
class SegmentLimits:
    """Limits of the length of segments.

    Attributes:
        min_s: shortest segment in seconds.
        max_s: longest segment in seconds.
    """

    min_s: float
    max_s: float

    def __str__(self) -> str:
        return f"{self.min_s:g}:{self.max_s:g}"


def parse_trim(text: str) -> TrimPlan:
    """Parses what to cut out: `anomalies`, `score < NUMBER` or causes of damage, separated by commas.

    Raises:
        ValueError: a part is none of these. The message continues `--trim`.
    """
    anomalies, below = False, None
    causes: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if part == ANOMALIES:
            anomalies = True
        elif part in HEARD_CAUSES:
            causes.append(part)
        elif (condition := _CONDITION.fullmatch(part)) and below is None:
            below = float(condition[1])
        else:
            raise ValueError(
                f"is {text!r}; {part!r} is unknown, choose from {ANOMALIES}, 'score < NUMBER' (once) and the causes "
                f"{', '.join(HEARD_CAUSES)}, separated by commas"
            )
    return TrimPlan(anomalies, tuple(dict.fromkeys(causes)), below)
