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

from collections.abc import Sequence

import duckdb

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from transforms import schemas
from transforms.curation.duckdb_rows import OWN_UTTERANCES, quoted

# Shortest span that trimming may keep: a span needs several frames.
LEAST_S = 0.1
_SHIFT_US = FRAME_SHIFT * 1_000_000 // SAMPLE_RATE
_FRAME_US = FRAME_LENGTH * 1_000_000 // SAMPLE_RATE

_ID = "format('{}#{:.3f}-{:.3f}', parent_id, start_us / 1e6, end_us / 1e6)"
# The last span ends where the utterance ends, which may lie between two microseconds.
SPAN_S = (
    "CASE WHEN spans.is_last THEN utterances.duration_s - spans.start_us / 1e6 "
    "ELSE (spans.end_us - spans.start_us) / 1e6 END"
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
            FROM anomalies JOIN {OWN_UTTERANCES} AS utterances USING (utterance_id)
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
            FROM anomalies JOIN {OWN_UTTERANCES} AS utterances USING (utterance_id)
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


def span_utterances(
    spans: str, measurements: str, measured_columns: Sequence[str], texts: str, text_columns: Sequence[str]
) -> str:
    """Returns the query for the good spans as rows of `utterances`.

    Scores, signal facts, `speech_s`, flags, causes and texts are those of the span. A span has no anomalies. The other values
    that the model hears are null, because `frames` does not have them. All other columns are those of its utterance.

    Args:
        spans: name of the table of good spans.
        measurements: name of the table of measurements of the spans.
        measured_columns: columns of `utterances` that this table replaces.
        texts: name of the table of the rows of `PieceTexts.rows`.
        text_columns: columns of the corpus that this table replaces.
    """
    replaced = [f"measured.{name} AS {name}" for name in measured_columns]
    replaced += [f"NULL::FLOAT AS {name}" for name in schemas.HEARD]
    replaced += [f"texts.{quoted(name)} AS {quoted(name)}" for name in text_columns]
    return f"""
        SELECT utterances.* REPLACE (
            spans.utterance_id AS utterance_id,
            utterances.start_s + spans.start_us / 1e6 AS start_s,
            {SPAN_S} AS duration_s,
            0::FLOAT AS anomaly_s,
            0::INTEGER AS num_anomalies,
            NULL::VARCHAR AS content_hash,
            NULL::BIGINT[] AS fingerprint,
            {", ".join(replaced)}
        )
        FROM {spans} AS spans JOIN utterances ON utterances.utterance_id = spans.parent_id
        JOIN {measurements} AS measured ON measured.utterance_id = spans.utterance_id
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
        JOIN {OWN_UTTERANCES} AS utterances USING (utterance_id)
    """).fetchall()
    if count:
        raise TrimError(
            f"--trim would create an utterance {first!r}, but the output already has one with this id; "
            "choose other ids in a manifest and score again"
        )
