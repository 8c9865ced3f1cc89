"""What a report says of an output, in numbers: small aggregates, whose size does not depend on that of the corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np

from model.labels import LabelScale

# Thresholds in one point of the scale: what is kept is counted at every 0.01.
STEPS = 100
# Groups of a column that stand by themselves; all further ones are counted together.
LARGEST_GROUPS = 30
FACT_BINS = 60
# Steps of 0.01 in a row of the density of a fact over the score.
SCORE_BIN = 10
REJECT_EXAMPLES = 3
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Beyond these quantiles a fact's values are counted in the bins at the ends.
_ENDS = (0.001, 0.999)
# The columns of `utterances` that are measured, with their titles and units.
FACTS = {
    "duration_s": ("Duration", "s"),
    "peak_dbfs": ("Peak level", "dBFS"),
    "rms_dbfs": ("RMS level", "dBFS"),
    "clipped_ratio": ("Clipped samples", "share"),
    "silence_ratio": ("Silent frames", "share"),
    "dc_offset": ("DC offset", "of full scale"),
    "bandwidth_hz": ("Bandwidth", "Hz"),
    "snr_db": ("Signal-to-noise ratio", "dB"),
}
FIRST_FOLDER = "first folder"
# The highest step whose threshold a score reaches. The threshold is a float32 as the score is, which is how DuckDB reads
# `score >= 3.07`; the product is put right where it was rounded to the other side of a step.
_GUESS = f"floor(score::DOUBLE * {STEPS})::INTEGER"
_STEP = f"""CASE WHEN score >= (({_GUESS} + 1)::DOUBLE / {STEPS})::FLOAT THEN {_GUESS} + 1
    WHEN score < ({_GUESS}::DOUBLE / {STEPS})::FLOAT THEN {_GUESS} - 1 ELSE {_GUESS} END"""


@dataclasses.dataclass(frozen=True)
class Steps:
    """Utterances and seconds by score, in steps of 0.01.

    Attributes:
        first: number of the first step, the threshold of which is `first / 100`.
        count: utterances that reach the threshold of a step and not the next [S].
        seconds: of those [S].
    """

    first: int
    count: np.ndarray
    seconds: np.ndarray

    def threshold(self, place: int) -> float:
        """The threshold of a step, which has two decimals."""
        return (self.first + place) / STEPS

    def kept(self, threshold: float) -> tuple[int, float]:
        """Utterances and seconds with a score of at least the threshold, which is rounded to two decimals."""
        place = max(0, round(threshold * STEPS) - self.first)
        return int(self.count[place:].sum()), float(self.seconds[place:].sum())


@dataclasses.dataclass(frozen=True)
class Group:
    """Some utterances that have a value in common.

    Attributes:
        name: the value; None where there is none, and for the rest.
        values: how many values are counted together here; 0 where it is one that stands by itself.
        quantiles: of the scores, at `QUANTILES`.
        steps: utterances and seconds by score.
    """

    name: str | None
    values: int
    quantiles: list[float]
    steps: Steps

    @property
    def count(self) -> int:
        """Utterances."""
        return int(self.steps.count.sum())

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return float(self.steps.seconds.sum())


@dataclasses.dataclass(frozen=True)
class Fact:
    """A fact of all utterances, and its bearing on the score.

    Attributes:
        name: its column.
        missing: utterances that have none, or one that is not finite.
        quantiles: at 0, `QUANTILES` and 1; empty where no utterance has any.
        edges: of its bins [`FACT_BINS` + 1]; what lies beyond is counted in the first or last.
        density: utterances by score and fact [R, `FACT_BINS`]; row r has the steps from `10 r` on.
    """

    name: str
    missing: int
    quantiles: list[float]
    edges: np.ndarray
    density: np.ndarray


@dataclasses.dataclass(frozen=True)
class Rejected:
    """Rejects of one reason, with the utterance_id and detail of a few."""

    stage: str
    reason: str
    count: int
    examples: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class ReportData:
    """All numbers of a report.

    Attributes:
        steps: all utterances by score.
        groups: by column, the largest group first and the rest, if any, last.
        facts: in the order of `FACTS`.
        flags: (flag, utterances, seconds), the most frequent first; None for those without any.
        rejects: the most frequent first.
    """

    steps: Steps
    groups: dict[str, list[Group]]
    facts: list[Fact]
    flags: list[tuple[str | None, int, float]]
    rejects: list[Rejected]

    @property
    def count(self) -> int:
        """Utterances."""
        return int(self.steps.count.sum())

    @property
    def seconds(self) -> float:
        """Of all utterances."""
        return float(self.steps.seconds.sum())

    @property
    def rejected(self) -> int:
        """How many have no score."""
        return sum(reject.count for reject in self.rejects)


def measure(connection: duckdb.DuckDBPyConnection, carried: Sequence[str], scale: LabelScale) -> ReportData:
    """Counts all that a report says of an output.

    Args:
        connection: with its tables, as `Results.connect` gives it.
        carried: columns of the corpus in `utterances`, which are groupings too.
        scale: of the scores.
    """
    binning = _Binning(connection, scale)
    return ReportData(
        steps=binning.all(),
        groups={column: binning.groups(sql) for column, sql in group_columns(carried).items()},
        facts=[binning.fact(name) for name in FACTS],
        flags=_flags(connection),
        rejects=_rejects(connection),
    )


def group_columns(carried: Sequence[str]) -> dict[str, str]:
    """The columns that utterances are grouped by, and the SQL of each."""
    folder = "CASE WHEN contains(ltrim(utterance_id, '/'), '/') THEN split_part(ltrim(utterance_id, '/'), '/', 1) END"
    named = {
        name: f'CAST("{name.replace(chr(34), chr(34) * 2)}" AS VARCHAR)' for name in ("format", "sample_rate", *carried)
    }
    return {FIRST_FOLDER: folder, **named}


class _Binning:
    """Counts by score, in the same steps for all that is counted."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scale: LabelScale) -> None:
        self._connection = connection
        ((low, high),) = self._rows(f"SELECT min({_STEP}), max({_STEP}) FROM utterances")
        first, last = (round(end * STEPS) for end in (scale.low, scale.high))
        self._first: int = first if low is None else min(first, low)
        self._last: int = last if high is None else max(last, high)

    def all(self) -> Steps:
        """All utterances."""
        return self._steps(
            self._rows(f"SELECT {_STEP} AS step, count(*), sum(duration_s) FROM utterances GROUP BY step")
        )

    def groups(self, sql: str) -> list[Group]:
        """The utterances by what an expression says of them."""
        grouped = f"""
            WITH sizes AS (SELECT {sql} AS name, sum(duration_s) AS seconds FROM utterances GROUP BY name),
            places AS (
                SELECT name, least(row_number() OVER (ORDER BY seconds DESC, name), {LARGEST_GROUPS + 1}) AS place FROM sizes
            ),
            placed AS (
                SELECT place, score, duration_s FROM (SELECT {sql} AS name, score, duration_s FROM utterances) AS u
                JOIN places ON u.name IS NOT DISTINCT FROM places.name
            )"""
        names = {
            place: (name, 0) if place <= LARGEST_GROUPS else (None, values)
            for place, name, values in self._rows(
                f"{grouped} SELECT place, any_value(name), count(*) FROM places GROUP BY place ORDER BY place"
            )
        }
        quantiles = dict(
            self._rows(f"{grouped} SELECT place, quantile_cont(score, {list(QUANTILES)}) FROM placed GROUP BY place")
        )
        rows = self._rows(
            f"{grouped} SELECT place, {_STEP} AS step, count(*), sum(duration_s) FROM placed GROUP BY place, step"
        )
        found = []
        for place, (name, values) in names.items():
            steps = self._steps([row[1:] for row in rows if row[0] == place])
            found.append(Group(name, values, list(quantiles[place]), steps))
        return found

    def fact(self, name: str) -> Fact:
        """The utterances by a fact and their score."""
        value = f"CASE WHEN isfinite({name}) THEN {name}::DOUBLE END"
        at = [0.0, *QUANTILES, 1.0, *_ENDS]
        ((quantiles, there, count),) = self._rows(
            f"SELECT quantile_cont(v, {at}), count(v), count(*) FROM (SELECT {value} AS v FROM utterances)"
        )
        rows = (self._last - self._first) // SCORE_BIN + 1
        density = np.zeros((rows, FACT_BINS), np.int64)
        low, high = (0.0, 1.0) if not there else quantiles[-2:]
        if high <= low:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, FACT_BINS + 1)
        if there:
            place = (
                f"least(greatest(floor((v - {low!r}) / {(high - low)!r} * {FACT_BINS}), 0), {FACT_BINS - 1})::INTEGER"
            )
            for row, column, number in self._rows(
                f"SELECT ({_STEP} - {self._first}) // {SCORE_BIN} AS r, {place} AS c, count(*) "
                f"FROM (SELECT score, {value} AS v FROM utterances) WHERE v IS NOT NULL GROUP BY r, c"
            ):
                density[row, column] = number
        return Fact(name, count - there, list(quantiles[:-2]) if there else [], edges, density)

    def _steps(self, rows: Sequence[tuple[int, int, float]]) -> Steps:
        count = np.zeros(self._last - self._first + 1, np.int64)
        seconds = np.zeros(len(count))
        for step, number, total in rows:
            count[step - self._first], seconds[step - self._first] = number, total
        return Steps(self._first, count, seconds)

    def _rows(self, query: str) -> list[Any]:
        return self._connection.execute(query).fetchall()


def _flags(connection: duckdb.DuckDBPyConnection) -> list[tuple[str | None, int, float]]:
    return connection.execute(
        """
        SELECT flag, count(*) AS utterances, sum(duration_s) FROM (
            SELECT unnest(CASE WHEN len(flags) = 0 THEN [NULL] ELSE flags END) AS flag, duration_s FROM utterances
        ) GROUP BY flag ORDER BY flag IS NULL, utterances DESC, flag
        """
    ).fetchall()


def _rejects(connection: duckdb.DuckDBPyConnection) -> list[Rejected]:
    rows = connection.execute(
        f"""
        SELECT stage, reason, count(*) AS number, min((utterance_id, detail), {REJECT_EXAMPLES})
        FROM rejects GROUP BY stage, reason ORDER BY number DESC, stage, reason
        """
    ).fetchall()
    return [Rejected(stage, reason, count, [tuple(example) for example in some]) for stage, reason, count, some in rows]
