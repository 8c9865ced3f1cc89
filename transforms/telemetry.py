"""What a run does, in numbers: Beam metrics for whoever watches a job, and sums that end in the run's record."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.metrics.metricbase import Counter as BeamCounter
from apache_beam.metrics.metricbase import Distribution

# Of all metrics, in whatever shows Beam's.
NAMESPACE = "audiosieve"
# Of the structured log. Workers of a cluster pass it on; a local run shows it where `--log_level` says so.
LOGGER = logging.getLogger(NAMESPACE)
# So many rejects of a reason are logged by a process; the tables have all.
LOGGED_REJECTS = 100


def count(name: str, by: int = 1) -> None:
    """Adds to a counter."""
    _counter(name).inc(by)


def observe(name: str, value: float) -> None:
    """Adds a value, rounded, to a distribution (count, sum, min, max)."""
    _distribution(name).update(round(value))


@functools.cache
def _counter(name: str) -> BeamCounter:
    return Metrics.counter(NAMESPACE, name)


@functools.cache
def _distribution(name: str) -> Distribution:
    return Metrics.distribution(NAMESPACE, name)


def show_log(level: str) -> None:
    """Has this process print its log on stderr, a JSON object a line; a worker of a cluster leaves that to Beam."""
    LOGGER.setLevel(level.upper())
    if not LOGGER.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Line())
        LOGGER.addHandler(handler)
        LOGGER.propagate = False


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": when, "level": record.levelname.lower()})[:-1] + ", " + record.getMessage()[1:]


def log(level: int, event: str, **facts: Any) -> None:
    """A line of JSON in the log: what happened, and to what."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, "%s", json.dumps({"event": event, **facts}, ensure_ascii=False, default=str))


_logged: Counter[str] = Counter()


def log_reject(reason: str, **facts: Any) -> None:
    """A reject in the log, as long as this process has not logged too many for the same reason."""
    _logged[reason] += 1
    if _logged[reason] <= LOGGED_REJECTS:
        log(logging.WARNING, "reject", reason=reason, **facts)
        if _logged[reason] == LOGGED_REJECTS:
            log(logging.WARNING, "further rejects are not logged", reason=reason, process_logged=LOGGED_REJECTS)


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What was done in a part of a run; sums.

    Attributes:
        batches: of the network.
        utterances: in them.
        frames: of the utterances.
        padded_frames: that the network computed, padding included.
        decode_s: seconds of reading, decoding, resampling and measuring the utterances that got to the network.
        features_s: seconds of the FFTs.
        model_s: seconds of the network.
        skipped: utterances that were found done already, where the run itself lists the corpus.
    """

    batches: int = 0
    utterances: int = 0
    frames: int = 0
    padded_frames: int = 0
    decode_s: float = 0.0
    features_s: float = 0.0
    model_s: float = 0.0
    skipped: int = 0

    @classmethod
    def of_sums(cls, sums: Mapping[str, Any]) -> Work:
        """From what `sums` gave, or what a run's record keeps as `work`."""
        return cls(**{field.name: sums.get(field.name, 0) for field in dataclasses.fields(cls)})

    def __add__(self, other: Work) -> Work:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Work(*(mine + theirs for mine, theirs in pairs))

    def sums(self) -> dict[str, float]:
        """As it travels: Beam would make a row of a class."""
        return dataclasses.asdict(self)

    @property
    def batch_size(self) -> float:
        """Utterances in a batch, on average."""
        return self.utterances / self.batches if self.batches else 0.0

    @property
    def padding(self) -> float:
        """Share of what the network computed that was padding."""
        return 1 - self.frames / self.padded_frames if self.padded_frames else 0.0

    def as_dict(self) -> dict[str, float]:
        """For the run's record."""
        sums = {name: round(value, 3) for name, value in self.sums().items() if name != "skipped"}
        return {**sums, "batch_size": round(self.batch_size, 2), "padding": round(self.padding, 4)}
