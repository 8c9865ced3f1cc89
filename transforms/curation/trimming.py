"""Cuts anomalies out of utterances. The good spans between them become utterances of their own.

Times are whole microseconds here, so that kept and removed spans meet exactly. A span starts on a frame of its utterance;
its frame scores are those of the utterance's frames that lie inside it.

Queries read the tables `utterances`, `anomalies` and `frames` of an output. `spans` has one row for each good span:

    utterance_id              new id, `PARENT#START-END` in seconds
    parent_id                 utterance that it is part of
    start_us, end_us          start and end in the parent, in microseconds
    first_frame, last_frame   frames of the parent inside it
    is_last                   whether it ends where the parent ends
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from model.pooling import Pooling, pool
from transforms.curation.duckdb_rows import batches_of, quoted
from transforms.scoring.verdicts import VERY_SHORT_S

# Shortest span that trimming may keep: a span needs several frames.
LEAST_S = 0.1
_SHIFT_US = FRAME_SHIFT * 1_000_000 // SAMPLE_RATE
_FRAME_US = FRAME_LENGTH * 1_000_000 // SAMPLE_RATE
# Limits the frame scores that are in memory at the same time.
_FRAMES_AT_A_TIME = 20_000_000
# Number of utterances that the pooling is inferred from, and the largest error of their scores on the label scale.
_POOLING_SAMPLE, _POOLING_TOLERANCE = 20, 0.01

_ID = "format('{}#{:.3f}-{:.3f}', parent_id, start_us / 1e6, end_us / 1e6)"
# The last span ends where the utterance ends, which may lie between two microseconds.
_SPAN_S = (
    "CASE WHEN spans.is_last THEN utterances.duration_s - spans.start_us / 1e6 "
    "ELSE (spans.end_us - spans.start_us) / 1e6 END"
)
_SCORES = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("num_frames", pa.int32()),
        ("score", pa.float32()),
        ("frame_score_p10", pa.float32()),
        ("frame_score_min", pa.float32()),
        ("frame_score_std", pa.float32()),
    ]
)


class TrimError(ValueError):
    """The utterances of an output cannot be trimmed."""


def good_spans(min_s: float, pad_s: float) -> str:
    """Returns the query for `spans`.

    Args:
        min_s: shortest span to keep, in seconds; at least `LEAST_S`.
        pad_s: margin that is cut off on both sides of an anomaly, in seconds.
    """
    min_us, pad_us = round(min_s * 1_000_000), round(pad_s * 1_000_000)
    # Anomalies start and end on frames, but their times are 32-bit floats, which are too coarse for long recordings.
    return f"""
        WITH padded AS (
            SELECT utterance_id AS parent_id, round(duration_s * 1e6)::BIGINT AS duration_us, num_frames,
                greatest(round(anomalies.start_s * 1e6 / {_SHIFT_US})::BIGINT * {_SHIFT_US} - {pad_us}, 0) AS start_us,
                least(round(anomalies.end_s * 1e6 / {_SHIFT_US})::BIGINT * {_SHIFT_US} + {pad_us}, duration_us) AS end_us
            FROM anomalies JOIN utterances USING (utterance_id)
        ),
        gaps AS (
            SELECT parent_id, duration_us, num_frames, start_us AS until_us, false AS is_last, coalesce(max(end_us) OVER (
                PARTITION BY parent_id ORDER BY start_us, end_us ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
            ) AS from_us
            FROM padded
            UNION ALL
            SELECT parent_id, duration_us, any_value(num_frames), duration_us, true, max(end_us)
            FROM padded GROUP BY parent_id, duration_us
        ),
        on_frames AS (
            SELECT parent_id, duration_us, num_frames, is_last,
                (from_us + {_SHIFT_US - 1}) // {_SHIFT_US} * {_SHIFT_US} AS start_us,
                CASE WHEN is_last THEN duration_us ELSE until_us // 1000 * 1000 END AS end_us
            FROM gaps
        )
        SELECT parent_id, start_us, end_us, is_last, {_ID} AS utterance_id, start_us // {_SHIFT_US} AS first_frame,
            CASE WHEN is_last THEN num_frames - 1 ELSE (end_us - {_FRAME_US}) // {_SHIFT_US} END AS last_frame
        FROM on_frames WHERE end_us - start_us >= {min_us}
    """


def removed_spans(spans: str) -> str:
    """Returns the query for the spans that trimming removes.

    Its columns are `utterance_id`, `parent_id`, `start_us`, `end_us` and `is_whole`. `is_whole` is true if the whole parent is
    removed; `utterance_id` is then the id of the parent.

    Args:
        spans: name of the table of good spans.
    """
    return f"""
        WITH trimmed AS (
            SELECT DISTINCT utterance_id AS parent_id, round(duration_s * 1e6)::BIGINT AS duration_us
            FROM anomalies JOIN utterances USING (utterance_id)
        ),
        between_spans AS (
            SELECT parent_id, coalesce(lag(end_us) OVER (PARTITION BY parent_id ORDER BY start_us), 0) AS start_us,
                start_us AS end_us, false AS is_whole
            FROM {spans}
            UNION ALL
            SELECT parent_id, coalesce(max(spans.end_us), 0), duration_us, max(spans.end_us) IS NULL
            FROM trimmed LEFT JOIN {spans} AS spans USING (parent_id) GROUP BY parent_id, duration_us
        )
        SELECT parent_id, start_us, end_us, is_whole, CASE WHEN is_whole THEN parent_id ELSE {_ID} END AS utterance_id
        FROM between_spans WHERE end_us > start_us
    """


def span_utterances(spans: str, scores: str, texts: str, text_columns: Sequence[str]) -> str:
    """Returns the query for the good spans as rows of `utterances`.

    Duration, frames, score, score statistics and texts are those of the span. A span has no anomalies. All other columns, such
    as levels, clipping and SNR, are those of its utterance.

    Args:
        spans: name of the table of good spans.
        scores: name of the table that `score_spans` returns.
        texts: name of the table that `PieceTexts.table` returns.
        text_columns: columns of the corpus that this table replaces.
    """
    replaced = "".join(f", texts.{quoted(name)} AS {quoted(name)}" for name in text_columns)
    return f"""
        SELECT utterances.* REPLACE (
            spans.utterance_id AS utterance_id,
            utterances.start_s + spans.start_us / 1e6 AS start_s,
            {_SPAN_S} AS duration_s,
            {", ".join(f"scores.{name} AS {name}" for name in _SCORES.names[1:])},
            0::FLOAT AS anomaly_s,
            0::INTEGER AS num_anomalies,
            list_concat(list_filter(flags, lambda flag: flag <> 'very_short'),
                CASE WHEN {_SPAN_S} < {VERY_SHORT_S} THEN ['very_short'] ELSE []::VARCHAR[] END) AS flags{replaced}
        )
        FROM {spans} AS spans JOIN utterances ON utterances.utterance_id = spans.parent_id
        JOIN {scores} AS scores ON scores.utterance_id = spans.utterance_id
        JOIN {texts} AS texts ON texts.utterance_id = spans.utterance_id
    """


def check_new_ids(connection: duckdb.DuckDBPyConnection, spans: str, removed: str) -> None:
    """Checks that no span gets the id of an utterance.

    Args:
        connection: DuckDB over an output.
        spans: name of the table of good spans.
        removed: name of the table of removed spans.

    Raises:
        TrimError: a span gets the id of an utterance.
    """
    ((count, first),) = connection.execute(f"""
        SELECT count(*), min(new.utterance_id)
        FROM (FROM {spans} SELECT utterance_id UNION ALL FROM {removed} SELECT utterance_id WHERE NOT is_whole) AS new
        JOIN utterances USING (utterance_id)
    """).fetchall()
    if count:
        raise TrimError(
            f"--trim would create an utterance {first!r}, but the output already has one with this id; "
            "choose other ids in a manifest and score again"
        )


def score_spans(connection: duckdb.DuckDBPyConnection, spans: str) -> pa.Table:
    """Pools the frame scores of each good span as the model does.

    Args:
        connection: DuckDB over an output.
        spans: name of the table of good spans.

    Returns:
        `utterance_id` of the span, `num_frames`, `score`, and the statistics of its frame scores.

    Raises:
        TrimError: frames are missing, or the pooling of the model is unknown.
    """
    pooling = _pooling(connection, spans)
    ((num_spans, num_frames),) = connection.execute(
        f"SELECT count(*), coalesce(sum(last_frame - first_frame + 1), 0) FROM {spans}"
    ).fetchall()
    columns: dict[str, list[Any]] = {name: [] for name in _SCORES.names}
    parts = 1 + int(num_frames) // _FRAMES_AT_A_TIME
    for part in range(parts):
        query = f"""
            SELECT spans.utterance_id, list(frames.score ORDER BY frames.frame)
            FROM frames JOIN {spans} AS spans ON frames.utterance_id = spans.parent_id
                AND frames.frame BETWEEN spans.first_frame AND spans.last_frame
            WHERE hash(spans.parent_id) % {parts} = {part}
            GROUP BY spans.utterance_id
        """
        for utterance_id, frame_score in _lists(connection, query):
            values = (
                utterance_id,
                len(frame_score),
                pool(frame_score, pooling),
                np.percentile(frame_score, 10),
                frame_score.min(),
                frame_score.std(),
            )
            for name, value in zip(_SCORES.names, values, strict=True):
                columns[name].append(value)
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in _SCORES}, _SCORES)
    if len(table) != num_spans or sum(columns["num_frames"]) != num_frames:
        raise _missing_frames()
    return table


def _missing_frames() -> TrimError:
    return TrimError(
        "--trim needs the frame scores of all utterances with anomalies, and some are missing in `frames`; score again"
    )


def _pooling(connection: duckdb.DuckDBPyConnection, spans: str) -> Pooling:
    """Infers the pooling from scores and frame scores, because the bundle may have been deleted."""
    sample = f"SELECT DISTINCT parent_id FROM {spans} ORDER BY parent_id LIMIT {_POOLING_SAMPLE}"
    query = f"""
        SELECT utterance_id, list(frames.score ORDER BY frame) FROM frames
        WHERE utterance_id IN ({sample}) GROUP BY utterance_id
    """
    frame_scores = dict(_lists(connection, query))
    parents = f"SELECT utterance_id, score, num_frames FROM utterances WHERE utterance_id IN ({sample})"
    scores = {}
    for name, score, num_frames in connection.execute(parents).fetchall():
        if len(frame_scores.get(name, ())) != num_frames:
            raise _missing_frames()
        scores[name] = score
    if not scores:
        return "mean"
    error: dict[Pooling, float] = {
        pooling: max(abs(pool(frame_score, pooling) - scores[name]) for name, frame_score in frame_scores.items())
        for pooling in ("mean", "pesq")
    }
    best = min(error, key=lambda pooling: error[pooling])
    if error[best] > _POOLING_TOLERANCE:
        raise TrimError(
            f"--trim cannot score spans: the utterance scores differ by {error[best]:.2f} from every known pooling of their "
            "frame scores; filter without --trim"
        )
    return best


def _lists(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the rows of a query with two columns: a text and a list of floats [T]."""
    for batch in batches_of(connection, query, 1_000):
        lists = batch.column(1)
        offsets, values = lists.offsets.to_numpy(), lists.values.to_numpy()
        for row, name in enumerate(batch.column(0).to_pylist()):
            yield name, values[offsets[row] : offsets[row + 1]]
