"""What an output holds, in numbers: how many hours, how good, what was lost, and where the bad ones are."""

from __future__ import annotations

import dataclasses
from typing import Any

import duckdb
import numpy as np

from model.labels import LabelScale
from transforms.analysis.queries import select
from transforms.analysis.row_formats import plain_rows
from transforms.output.results import Results

QUANTILES = {
    "min": 0.0,
    "p1": 0.01,
    "p5": 0.05,
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p95": 0.95,
    "p99": 0.99,
    "max": 1.0,
}
BIN = 0.5
# As many groups fit on a screen.
MOST_GROUPS = 50
# As deep as the folders of corpora are nested before those that tell speakers or sources apart.
DEEPEST_FOLDER = 4


@dataclasses.dataclass(frozen=True)
class Bin:
    """A stretch of the label scale, and what of the corpus scores in it.

    Attributes:
        low: its lower end, which belongs to it.
        high: its upper end, which belongs to the next.
        utterances: in it.
        hours: in it.
        hours_from_here: in it and all above: what a threshold at `low` keeps.
    """

    low: float
    high: float
    utterances: int
    hours: float
    hours_from_here: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """An output in numbers. Hours are of scored audio; tables are lists of rows, their columns named.

    Attributes:
        output: the folder.
        model_id: of the model.
        scale: what the scores mean.
        runs: how many runs or waves are committed.
        utterances: scored.
        hours: scored.
        anomalies: in how many utterances there are any, how many, and the hours in them.
        quantiles: of the scores, each utterance counting alike.
        quantiles_by_hours: of the scores, each utterance counting as long as it is.
        bins: of the scores, lowest first.
        rejects: by reason.
        flags: by word.
        formats: by container and coding.
        grouped_by: the SQL expression of the groups; empty where there are none.
        groups: the worst first.
    """

    output: str
    model_id: str
    scale: LabelScale
    runs: int
    utterances: int
    hours: float
    anomalies: dict[str, float]
    quantiles: dict[str, float]
    quantiles_by_hours: dict[str, float]
    bins: list[Bin]
    rejects: list[dict[str, Any]]
    flags: list[dict[str, Any]]
    formats: list[dict[str, Any]]
    grouped_by: str
    groups: list[dict[str, Any]]


def summarise(results: Results, by: str | None = None) -> Summary:
    """Counts and measures what stands in an output.

    Args:
        results: the output.
        by: a column of `utterances`, or an SQL expression over them, that makes groups; where left out, the first folder in
            which the ids differ, if there are at most 50 of those.

    Raises:
        QueryError: `by` cannot be understood.
    """
    connection = results.connect()
    columns = select(connection, "SELECT score, duration_s FROM utterances").table()
    score = columns["score"].to_numpy().astype(np.float64)
    seconds = columns["duration_s"].to_numpy()
    by = folder(connection) if by is None else by
    return Summary(
        output=results.root,
        model_id=results.model_id,
        scale=results.label_scale,
        runs=len(results.records),
        utterances=len(score),
        hours=float(seconds.sum()) / 3600,
        anomalies=_rows(
            connection,
            "SELECT count(*) FILTER (num_anomalies > 0) AS utterances, coalesce(sum(num_anomalies), 0) AS anomalies, "
            "coalesce(sum(anomaly_s), 0) / 3600 AS hours FROM utterances",
        )[0],
        quantiles=quantiles(score, np.ones(len(score))),
        quantiles_by_hours=quantiles(score, seconds),
        bins=bins(score, seconds, results.label_scale),
        rejects=_rows(connection, "SELECT reason, count(*) AS rejects FROM rejects GROUP BY ALL ORDER BY 2 DESC, 1"),
        flags=_measured(connection, "flag", "(SELECT unnest(flags) AS flag, * FROM utterances)", "hours DESC"),
        formats=_measured(connection, "format", "utterances", "hours DESC"),
        grouped_by=by,
        groups=_measured(connection, by, "utterances", "mean_score") if by else [],
    )


def quantiles(score: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """The lowest score at or under which lies each share of the weight; nothing for no scores.

    Args:
        score: [N].
        weight: [N], over 0.
    """
    if not len(score):
        return {}
    found = np.quantile(score, list(QUANTILES.values()), weights=weight, method="inverted_cdf")
    return dict(zip(QUANTILES, found.tolist(), strict=True))


def bins(score: np.ndarray, seconds: np.ndarray, scale: LabelScale) -> list[Bin]:
    """What scores in each half point of a label scale.

    Args:
        score: [N], within the scale.
        seconds: [N], lengths of the utterances.
        scale: of the scores.
    """
    edges = np.append(np.arange(scale.low, scale.high, BIN), scale.high)
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, len(edges) - 2)
    count = np.bincount(place, minlength=len(edges) - 1)
    hours = np.bincount(place, seconds, minlength=len(edges) - 1) / 3600
    from_here = np.cumsum(hours[::-1])[::-1]
    return [
        Bin(float(edges[n]), float(edges[n + 1]), int(count[n]), float(hours[n]), float(from_here[n]))
        for n in range(len(count))
    ]


def folder(connection: duckdb.DuckDBPyConnection) -> str:
    """The SQL expression of the first folder in which the ids of utterances differ; empty where there is none for a table."""
    for depth in range(1, DEEPEST_FOLDER + 1):
        # The last part of an id is the recording itself.
        expression = f"array_to_string(string_split(utterance_id, '/')[:-2][:{depth}], '/')"
        (count,) = connection.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT {expression} FROM utterances LIMIT {MOST_GROUPS + 1})"
        ).fetchall()[0]
        if count > 1:
            return expression if count <= MOST_GROUPS else ""
    return ""


def _measured(connection: duckdb.DuckDBPyConnection, by: str, source: str, order: str) -> list[dict[str, Any]]:
    return _rows(
        connection,
        f'SELECT ({by}\n) AS "group", count(*) AS utterances, sum(duration_s) / 3600 AS hours, avg(score) AS mean_score, '
        "quantile_disc(score, 0.05) AS p5, quantile_disc(score, 0.5) AS p50, "
        "count(*) FILTER (num_anomalies > 0) / count(*) AS with_anomalies, "
        f'count(*) FILTER (len(flags) > 0) / count(*) AS with_flags FROM {source} GROUP BY 1 ORDER BY {order}, "group"',
    )


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    answer = select(connection, sql)
    return [dict(zip(answer.schema.names, row, strict=True)) for row in plain_rows(answer.table())]
