"""Numbers and events of a run: Beam metrics, structured log lines, and sums of work for the run's record."""

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

# Namespace of the metrics.
NAMESPACE = "audiosieve"
# Structured log. Workers of a cluster forward it; a local run prints it according to `--log_level`.
LOGGER = logging.getLogger(NAMESPACE)
# Largest number of rejects that a process logs per reason. The table `rejects` has all of them.
LOGGED_REJECTS = 100


def count(name: str, by: int = 1) -> None:
    """Increments a counter."""
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
    """Makes this process print its log on stderr as JSON lines. On a cluster, Beam forwards the logs of workers."""
    LOGGER.setLevel(level.upper())
    if not LOGGER.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        LOGGER.addHandler(handler)
        LOGGER.propagate = False


class JsonLines(logging.Formatter):
    """Formats the messages of `log` as JSON lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the JSON line of an event, which starts with its time and level."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": when, "level": record.levelname.lower()})[:-1] + ", " + record.getMessage()[1:]


def log(level: int, event: str, **facts: Any) -> None:
    """Logs an event as a line of JSON."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, "%s", json.dumps({"event": event, **facts}, ensure_ascii=False, default=str))


logged_rejects: Counter[str] = Counter()


def log_reject(reason: str, **facts: Any) -> None:
    """Logs a reject, unless this process has logged `LOGGED_REJECTS` for the same reason."""
    logged_rejects[reason] += 1
    if logged_rejects[reason] <= LOGGED_REJECTS:
        log(logging.WARNING, "reject", reason=reason, **facts)
        if logged_rejects[reason] == LOGGED_REJECTS:
            log(logging.WARNING, "further rejects are not logged", reason=reason, process_logged=LOGGED_REJECTS)


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """Sums of the work in a part of a run.

    Attributes:
        batches: number of batches of the network.
        utterances: number of utterances in the batches.
        frames: number of frames of these utterances that the network got, without left-out silence.
        padded_frames: number of frames that the network computed, including padding.
        decode_s: seconds spent on reading, decoding, resampling and measuring these utterances.
        features_s: seconds spent on the FFTs.
        model_s: seconds spent in the network.
        skipped: number of utterances that earlier runs scored; 0 unless the pipeline lists the corpus.
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
        """Returns the work with the given sums.

        Args:
            sums: result of `Work.sums`, or the entry `work` of a run's record; missing sums are 0.
        """
        return cls(**{field.name: sums.get(field.name, 0) for field in dataclasses.fields(cls)})

    def __add__(self, other: Work) -> Work:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Work(*(value + other_value for value, other_value in pairs))

    def sums(self) -> dict[str, float]:
        """Returns plain values, which can cross a shuffle: Beam would turn a dataclass into a row."""
        return dataclasses.asdict(self)

    @property
    def batch_size(self) -> float:
        """Mean number of utterances in a batch."""
        return self.utterances / self.batches if self.batches else 0.0

    @property
    def padding(self) -> float:
        """Share of the computed frames that were padding, 0 to 1."""
        return 1 - self.frames / self.padded_frames if self.padded_frames else 0.0

    def as_dict(self) -> dict[str, float]:
        """Returns the entry `work` of a run's record."""
        sums = {name: round(value, 3) for name, value in self.sums().items() if name != "skipped"}
        return {**sums, "batch_size": round(self.batch_size, 2), "padding": round(self.padding, 4)}
