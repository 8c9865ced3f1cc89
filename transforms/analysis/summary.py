"""Summarises an output: hours, scores, rejects, and groups from worst to best."""

from __future__ import annotations

import dataclasses
from typing import Any

import duckdb
import numpy as np

from model.labels import LabelScale
from transforms.analysis.queries import select
from transforms.analysis.row_formats import plain_rows
from transforms.corpus.other_files import IS_OTHER_FILE
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
# Width of a bin of the histogram, in points of the label scale.
BIN = 0.5
# Largest number of groups by folder that fit on a screen.
MAX_GROUPS = 50
# Deepest folder level at which ids are compared.
MAX_FOLDER_DEPTH = 4


# One row for each flag or cause of an utterance. A carried column may have the name `flag` or `cause`.
_BY_FLAG = "(SELECT unnest(flags) AS flag, flags, duration_s, score, num_anomalies FROM utterances)"
_BY_CAUSE = "(SELECT unnest(causes) AS cause, flags, duration_s, score, num_anomalies FROM utterances)"


@dataclasses.dataclass(frozen=True)
class Bin:
    """The utterances with scores in one interval of the label scale.

    Attributes:
        low: lower end, inclusive.
        high: upper end, exclusive.
        utterances: number of utterances.
        hours: duration of the utterances in hours.
        hours_from_here: duration in hours of this bin and all higher bins, which a threshold at `low` keeps.
    """

    low: float
    high: float
    utterances: int
    hours: float
    hours_from_here: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """The summary of an output. Hours are those of scored audio. Tables are lists of rows with named columns.

    Attributes:
        output: folder of the output.
        model_id: id of the model.
        scale: scale of the scores.
        runs: number of committed runs or waves.
        utterances: number of scored utterances.
        hours: duration of the scored utterances in hours.
        anomalies: number of utterances with anomalies, number of anomalies, and their duration in hours.
        quantiles: quantiles of the scores, in which every utterance has the same weight.
        quantiles_by_hours: quantiles of the scores, weighted by duration.
        bins: histogram of the scores, lowest first.
        rejects: number of rejected recordings by reason.
        other_files: number of rejects that are no recordings by their names, such as texts and pictures.
        flags: statistics of the utterances with each flag.
        causes: statistics of the utterances with each cause.
        formats: statistics of the utterances in each container and coding.
        grouped_by: SQL expression of the groups; empty without groups.
        groups: statistics of each group, the worst first.
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
    other_files: int
    flags: list[dict[str, Any]]
    causes: list[dict[str, Any]]
    formats: list[dict[str, Any]]
    grouped_by: str
    groups: list[dict[str, Any]]


def summarise(results: Results, by: str | None = None) -> Summary:
    """Summarises an output.

    Args:
        results: the output.
        by: column of `utterances`, or SQL expression over them, by which utterances are grouped; by default the first folder
            level at which the ids differ, if there are at most 50 folders.

    Raises:
        QueryError: `by` is invalid.
    """
    connection = results.connect()
    columns = select(connection, "SELECT score, duration_s FROM utterances").table()
    score = columns["score"].to_numpy().astype(np.float64)
    seconds = columns["duration_s"].to_numpy()
    by = folder_expression(connection) if by is None else by
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
        rejects=_rows(
            connection,
            f"SELECT reason, count(*) AS rejects FROM rejects WHERE NOT {IS_OTHER_FILE} GROUP BY ALL ORDER BY 2 DESC, 1",
        ),
        other_files=_rows(connection, f"SELECT count(*) AS number FROM rejects WHERE {IS_OTHER_FILE}")[0]["number"],
        flags=_statistics(connection, "flag", _BY_FLAG, "3 DESC"),
        causes=_statistics(connection, "cause", _BY_CAUSE, "3 DESC"),
        formats=_statistics(connection, "format", "utterances", "3 DESC"),
        grouped_by=by,
        groups=_statistics(connection, by, "utterances", "4") if by else [],
    )


def quantiles(score: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Returns the weighted quantiles of scores; empty without scores.

    Args:
        score: scores: float [N].
        weight: weights above 0: float [N].

    Returns:
        For each share of `QUANTILES`, the lowest score such that scores up to it have at least this share of the weight.
    """
    if not len(score):
        return {}
    values = np.quantile(score, list(QUANTILES.values()), weights=weight, method="inverted_cdf")
    return dict(zip(QUANTILES, values.tolist(), strict=True))


def bins(score: np.ndarray, seconds: np.ndarray, scale: LabelScale) -> list[Bin]:
    """Returns the histogram of scores in steps of half a point.

    Args:
        score: scores within the scale: float [N].
        seconds: durations of the utterances in seconds: float [N].
        scale: scale of the scores.
    """
    edges = np.append(np.arange(scale.low, scale.high, BIN), scale.high)
    bin_numbers = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, len(edges) - 2)
    count = np.bincount(bin_numbers, minlength=len(edges) - 1)
    hours = np.bincount(bin_numbers, seconds, minlength=len(edges) - 1) / 3600
    from_here = np.cumsum(hours[::-1])[::-1]
    return [
        Bin(float(edges[n]), float(edges[n + 1]), int(count[n]), float(hours[n]), float(from_here[n]))
        for n in range(len(count))
    ]


def folder_expression(connection: duckdb.DuckDBPyConnection) -> str:
    """Returns SQL for the first folder level at which the ids differ; empty if there is none or it has too many folders."""
    for depth in range(1, MAX_FOLDER_DEPTH + 1):
        # The last part of an id is the recording, not a folder.
        expression = f"array_to_string(string_split(utterance_id, '/')[:-2][:{depth}], '/')"
        (count,) = connection.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT {expression} FROM utterances LIMIT {MAX_GROUPS + 1})"
        ).fetchall()[0]
        if count > 1:
            return expression if count <= MAX_GROUPS else ""
    return ""


def _statistics(connection: duckdb.DuckDBPyConnection, by: str, source: str, order: str) -> list[dict[str, Any]]:
    # Names of carried columns may be those of results, so the order is by positions.
    return _rows(
        connection,
        f'SELECT ({by}\n) AS "group", count(*) AS utterances, sum(duration_s) / 3600 AS hours, avg(score) AS mean_score, '
        "quantile_disc(score, 0.05) AS p5, quantile_disc(score, 0.5) AS p50, "
        "count(*) FILTER (num_anomalies > 0) / count(*) AS with_anomalies, "
        f"count(*) FILTER (len(flags) > 0) / count(*) AS with_flags FROM {source} GROUP BY 1 ORDER BY {order}, 1",
    )


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    result = select(connection, sql)
    return [dict(zip(result.schema.names, row, strict=True)) for row in plain_rows(result.table())]
