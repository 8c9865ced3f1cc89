"""The good spans of utterances as utterances of their own: anomalies are cut off, with a margin around them.

Times are whole microseconds here, so that what is kept and what is cut off meet exactly. A span begins with a frame of its
utterance: so its frame scores are those of the utterance's frames that lie in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from model.pooling import Pooling, pool
from transforms.curation.duckdb_rows import batches_of
from transforms.scoring.utterance_score import VERY_SHORT_S

# By which `dropped.parquet` knows what was cut off.
TRIM = "trim"
# A span must have some frames.
LEAST_S = 0.1
_SHIFT_US = FRAME_SHIFT * 1_000_000 // SAMPLE_RATE
_FRAME_US = FRAME_LENGTH * 1_000_000 // SAMPLE_RATE
# Frame scores of so many frames are in memory at a time.
_FRAMES_AT_A_TIME = 20_000_000
# The pooling is told from so many utterances; their scores and those pooled anew may be so far apart.
_POOLED_AGAIN, _POOLED_WITHIN = 20, 0.01


class TrimError(ValueError):
    """An output whose utterances cannot be trimmed."""


def trim(connection: duckdb.DuckDBPyConnection, min_s: float = 1.0, pad_s: float = 0.1) -> None:
    """Makes, of an output, the entries that rules are to judge, and what is cut off.

    Args:
        connection: with the views of an output. After it also with `spans` (one row for each span that is left of an
            utterance with anomalies: `utterance_id`, a new one, `parent_id`, `start_us` and `end_us` in the parent), `cut_off`
            (likewise what is not left; where that is a whole utterance, with its own id) and `entries` (the utterances
            without anomalies, and the spans, with the columns of `utterances`).
        min_s: a good stretch that is shorter is cut off too; at least 0.1 s.
        pad_s: so much around each anomaly is cut off with it.

    A span's `score` is pooled from its frames by the model's own pooling, its length, its frames and their statistics are its
    own, it has no anomalies, and all other facts (levels, clipping, SNR) are those of its utterance.

    Raises:
        TrimError: the frames do not give the scores, or an id that a span would have stands for something else.
    """
    _find_spans(connection, round(min_s * 1_000_000), round(pad_s * 1_000_000))
    _check_ids(connection)
    connection.register("span_scores", _span_scores(connection, _pooling(connection)))
    connection.execute(f"""
        CREATE TEMP TABLE span_rows AS
        SELECT utterances.* REPLACE (
            spans.utterance_id AS utterance_id,
            utterances.start_s + spans.start_us / 1e6 AS start_s,
            {_LENGTH_S} AS duration_s,
            {", ".join(f"span_scores.{name} AS {name}" for name in _SCORES.names[1:])},
            0::FLOAT AS anomaly_s,
            0::INTEGER AS num_anomalies,
            list_concat(list_filter(flags, lambda flag: flag <> 'very_short'),
                CASE WHEN {_LENGTH_S} < {VERY_SHORT_S} THEN ['very_short'] ELSE []::VARCHAR[] END) AS flags
        )
        FROM spans JOIN utterances ON utterances.utterance_id = spans.parent_id
        JOIN span_scores ON span_scores.utterance_id = spans.utterance_id
    """)
    connection.execute("""
        CREATE TEMP VIEW entries AS
        SELECT * FROM utterances WHERE utterance_id NOT IN (SELECT parent_id FROM cut_off) UNION ALL SELECT * FROM span_rows
    """)


# The last span ends where the utterance does, which may lie between two microseconds.
_LENGTH_S = (
    "CASE WHEN spans.is_last THEN utterances.duration_s - spans.start_us / 1e6 "
    "ELSE (spans.end_us - spans.start_us) / 1e6 END"
)
_ID = "format('{}#{:.3f}-{:.3f}', parent_id, start_us / 1e6, end_us / 1e6)"


def _find_spans(connection: duckdb.DuckDBPyConnection, min_us: int, pad_us: int) -> None:
    """Makes `spans` and `cut_off`."""
    # Anomalies begin and end with frames; as floats they are a little beside them, the more so the longer the recording is.
    connection.execute(f"""
        CREATE TEMP TABLE spans AS
        WITH bad AS (
            SELECT utterance_id AS parent_id, round(duration_s * 1e6)::BIGINT AS length_us, num_frames,
                greatest(round(anomalies.start_s * 1e6 / {_SHIFT_US})::BIGINT * {_SHIFT_US} - {pad_us}, 0) AS start_us,
                least(round(anomalies.end_s * 1e6 / {_SHIFT_US})::BIGINT * {_SHIFT_US} + {pad_us}, length_us) AS end_us
            FROM anomalies JOIN utterances USING (utterance_id)
        ),
        gaps AS (
            SELECT parent_id, length_us, num_frames, start_us AS until_us, false AS is_last, coalesce(max(end_us) OVER (
                PARTITION BY parent_id ORDER BY start_us, end_us ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
            ) AS from_us
            FROM bad
            UNION ALL
            SELECT parent_id, length_us, any_value(num_frames), length_us, true, max(end_us)
            FROM bad GROUP BY parent_id, length_us
        ),
        stretches AS (
            SELECT parent_id, length_us, num_frames, is_last,
                (from_us + {_SHIFT_US - 1}) // {_SHIFT_US} * {_SHIFT_US} AS start_us,
                CASE WHEN is_last THEN length_us ELSE until_us // 1000 * 1000 END AS end_us
            FROM gaps
        )
        SELECT parent_id, start_us, end_us, is_last, {_ID} AS utterance_id, start_us // {_SHIFT_US} AS first_frame,
            CASE WHEN is_last THEN num_frames - 1 ELSE (end_us - {_FRAME_US}) // {_SHIFT_US} END AS last_frame
        FROM stretches WHERE end_us - start_us >= {min_us}
    """)
    connection.execute(f"""
        CREATE TEMP TABLE cut_off AS
        WITH trimmed AS (
            SELECT DISTINCT utterance_id AS parent_id, round(duration_s * 1e6)::BIGINT AS length_us
            FROM anomalies JOIN utterances USING (utterance_id)
        ),
        rest AS (
            SELECT parent_id, coalesce(lag(end_us) OVER (PARTITION BY parent_id ORDER BY start_us), 0) AS start_us,
                start_us AS end_us, false AS is_whole
            FROM spans
            UNION ALL
            SELECT parent_id, coalesce(max(spans.end_us), 0), length_us, max(spans.end_us) IS NULL
            FROM trimmed LEFT JOIN spans USING (parent_id) GROUP BY parent_id, length_us
        )
        SELECT parent_id, start_us, end_us, is_whole, CASE WHEN is_whole THEN parent_id ELSE {_ID} END AS utterance_id
        FROM rest WHERE end_us > start_us
    """)


def _check_ids(connection: duckdb.DuckDBPyConnection) -> None:
    taken = connection.execute("""
        SELECT count(*), min(made.utterance_id)
        FROM (FROM spans SELECT utterance_id UNION ALL FROM cut_off SELECT utterance_id WHERE NOT is_whole) AS made
        JOIN utterances USING (utterance_id)
    """).fetchall()[0]
    if taken[0]:
        raise TrimError(
            f"--trim would make an utterance {taken[1]!r}, which is there already; give ids in a manifest, and score anew"
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


def _span_scores(connection: duckdb.DuckDBPyConnection, pooling: Pooling) -> pa.Table:
    """What the frames of each span say of it."""
    ((spans, frames),) = connection.execute(
        "SELECT count(*), coalesce(sum(last_frame - first_frame + 1), 0) FROM spans"
    ).fetchall()
    found: dict[str, list[Any]] = {name: [] for name in _SCORES.names}
    parts = 1 + int(frames) // _FRAMES_AT_A_TIME
    for part in range(parts):
        query = f"""
            SELECT spans.utterance_id, list(frames.score ORDER BY frames.frame)
            FROM frames JOIN spans ON frames.utterance_id = spans.parent_id
                AND frames.frame BETWEEN spans.first_frame AND spans.last_frame
            WHERE hash(spans.parent_id) % {parts} = {part}
            GROUP BY spans.utterance_id
        """
        for utterance_id, score in _lists(connection, query):
            values = (
                utterance_id,
                len(score),
                pool(score, pooling),
                np.percentile(score, 10),
                score.min(),
                score.std(),
            )
            for name, value in zip(_SCORES.names, values, strict=True):
                found[name].append(value)
    table = pa.table({field.name: pa.array(found[field.name], field.type) for field in _SCORES}, _SCORES)
    if len(table) != spans or sum(found["num_frames"]) != frames:
        raise TrimError("the output lacks frames of utterances with anomalies, and --trim needs them; score anew")
    return table


def _pooling(connection: duckdb.DuckDBPyConnection) -> Pooling:
    """How the model pools: as gives the utterances' scores back from their frames. Its bundle may be anywhere by now."""
    query = f"""
        SELECT utterance_id, list(frames.score ORDER BY frame) FROM frames
        WHERE utterance_id IN (SELECT DISTINCT parent_id FROM spans ORDER BY parent_id LIMIT {_POOLED_AGAIN})
        GROUP BY utterance_id
    """
    scores = dict(connection.execute("""
        SELECT utterance_id, score FROM utterances WHERE utterance_id IN (SELECT parent_id FROM spans)
    """).fetchall())  # fmt: skip
    frame_scores = dict(_lists(connection, query))
    if not frame_scores:
        return "mean"
    apart: dict[Pooling, float] = {
        pooling: max(abs(pool(frame_score, pooling) - scores[name]) for name, frame_score in frame_scores.items())
        for pooling in ("mean", "pesq")
    }
    best = min(apart, key=lambda pooling: apart[pooling])
    if apart[best] > _POOLED_WITHIN:
        raise TrimError(
            f"the scores of the output are not pooled from its frames in a way that is known here (they are {apart[best]:.2f} "
            "apart), so spans of its utterances cannot get scores; do without --trim"
        )
    return best


def _lists(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[str, np.ndarray]]:
    """The rows of a query for a text and a list of floats [T]."""
    for batch in batches_of(connection, query, 1_000):
        lists = batch.column(1)
        offsets, values = lists.offsets.to_numpy(), lists.values.to_numpy()
        for row, name in enumerate(batch.column(0).to_pylist()):
            yield name, values[offsets[row] : offsets[row + 1]]
