"""Queries for the good spans of utterances, which become utterances of their own, and for what is removed.

Times are whole microseconds here, so that kept and removed spans meet exactly. A span starts on a frame of its utterance;
its frame scores are those of the utterance's frames that lie inside it.

Queries read the table `utterances` of an output. `spans` has one row for each good span:

    utterance_id              new id, `PARENT#START-END` in seconds
    parent_id                 utterance that it is part of
    start_us, end_us          start and end in the parent, in microseconds
    first_frame, last_frame   frames of the parent inside it
    is_last                   whether it ends where the parent ends

The parts that are removed have `utterance_id`, `parent_id`, `start_us` and `end_us`, and:

    rule       why the part is removed
    is_whole   whether it is the whole parent; `utterance_id` is then the id of the parent
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from model.diagnosis import RATINGS
from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from transforms.curation.duckdb_rows import OWN_UTTERANCES, quoted
from transforms.curation.rules import SEGMENT_PAUSE, SEGMENT_SHORT, TRIM
from transforms.curation.trimming.plan import TrimError

SHIFT_US = FRAME_SHIFT * 1_000_000 // SAMPLE_RATE
FRAME_US = FRAME_LENGTH * 1_000_000 // SAMPLE_RATE

_ID = "format('{}#{:.3f}-{:.3f}', parent_id, start_us / 1e6, end_us / 1e6)"
# The last span ends where the utterance ends, which may lie between two microseconds.
SPAN_S = (
    "CASE WHEN spans.is_last THEN utterances.duration_s - spans.start_us / 1e6 "
    "ELSE (spans.end_us - spans.start_us) / 1e6 END"
)


def good_spans(stretches: str, min_s: float) -> str:
    """Returns the query for the spans between stretches that are cut out.

    Args:
        stretches: name of a table with the stretches: `parent_id`, `start_us` and `end_us`. They may overlap.
        min_s: shortest span to keep, in seconds; at least `plan.LEAST_S`.
    """
    min_us = round(min_s * 1_000_000)
    return f"""
        WITH cut AS (
            SELECT parent_id, round(duration_s * 1e6)::BIGINT AS duration_us, num_frames, start_us, end_us
            FROM {stretches} AS stretches JOIN {OWN_UTTERANCES} AS utterances ON utterance_id = parent_id
        ),
        gaps AS (
            SELECT parent_id, duration_us, num_frames, start_us AS until_us, false AS is_last, coalesce(max(end_us) OVER (
                PARTITION BY parent_id ORDER BY start_us, end_us ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
            ) AS from_us
            FROM cut
            UNION ALL
            SELECT parent_id, duration_us, any_value(num_frames), duration_us, true, max(end_us)
            FROM cut GROUP BY parent_id, duration_us
        ),
        on_frames AS (
            SELECT parent_id, duration_us, num_frames, is_last,
                (from_us + {SHIFT_US - 1}) // {SHIFT_US} * {SHIFT_US} AS start_us,
                CASE WHEN is_last THEN duration_us ELSE until_us // 1000 * 1000 END AS end_us
            FROM gaps
        )
        SELECT parent_id, start_us, end_us, is_last, {_ID} AS utterance_id, start_us // {SHIFT_US} AS first_frame,
            CASE WHEN is_last THEN num_frames - 1 ELSE (end_us - {FRAME_US}) // {SHIFT_US} END AS last_frame
        FROM on_frames WHERE end_us - start_us >= {min_us}
    """


def removed_spans(spans: str, stretches: str) -> str:
    """Returns the query for the spans that trimming removes.

    Args:
        spans: name of the table of good spans.
        stretches: name of the table of stretches that were cut out.
    """
    return f"""
        WITH trimmed AS (
            SELECT DISTINCT parent_id, round(duration_s * 1e6)::BIGINT AS duration_us
            FROM {stretches} AS stretches JOIN {OWN_UTTERANCES} AS utterances ON utterance_id = parent_id
        ),
        between_spans AS (
            SELECT parent_id, coalesce(lag(end_us) OVER (PARTITION BY parent_id ORDER BY start_us), 0) AS start_us,
                start_us AS end_us, false AS is_whole
            FROM {spans}
            UNION ALL
            SELECT parent_id, coalesce(max(spans.end_us), 0), duration_us, max(spans.end_us) IS NULL
            FROM trimmed LEFT JOIN {spans} AS spans USING (parent_id) GROUP BY parent_id, duration_us
        )
        SELECT parent_id, start_us, end_us, is_whole, '{TRIM}' AS rule,
            CASE WHEN is_whole THEN parent_id ELSE {_ID} END AS utterance_id
        FROM between_spans WHERE end_us > start_us
    """


def segment_spans(parts: str) -> str:
    """Returns the query for the segments as rows of `spans`.

    Args:
        parts: name of a table with the parts of utterances: `parent_id` and the columns of `segments.part_row`.
    """
    return f"SELECT * EXCLUDE (rule), {_ID} AS utterance_id FROM {parts} WHERE rule IS NULL"


def dropped_parts(parts: str, measurements: str, min_s: float) -> str:
    """Returns the query for the parts of utterances that are in no segment.

    These are dropped parts, segments that turn out to have no speech, and utterances that are shorter than a segment.

    Args:
        parts: name of the table of parts of the other utterances.
        measurements: name of the table of measurements of the segments.
        min_s: shortest segment in seconds.
    """
    return f"""
        SELECT parent_id, start_us, end_us, is_whole, rule,
            CASE WHEN is_whole THEN parent_id ELSE {_ID} END AS utterance_id
        FROM (
            SELECT parent_id, start_us, end_us, start_us = 0 AND is_last AS is_whole, rule FROM {parts} WHERE rule IS NOT NULL
            UNION ALL
            SELECT parent_id, start_us, end_us, start_us = 0 AND is_last, '{SEGMENT_PAUSE}'
            FROM (SELECT *, {_ID} AS utterance_id FROM {parts} WHERE rule IS NULL) JOIN {measurements} USING (utterance_id)
            WHERE is_silent
            UNION ALL
            SELECT utterance_id, 0, round(duration_s * 1e6)::BIGINT, true, '{SEGMENT_SHORT}'
            FROM {OWN_UTTERANCES} WHERE {_is_shorter(min_s)}
        )
    """


def divided_utterances(stretches: str, min_s: float, max_s: float) -> str:
    """Returns the query for the utterances that are divided into segments: `parent_id`, `duration_us` and `bad`.

    `bad` is the list of the stretches that are cut out of it, with `start_us` and `end_us`; null if there are none. Other
    utterances are long enough and stay whole, or are too short.

    Args:
        stretches: name of the table of stretches that are cut out.
        min_s: shortest segment in seconds.
        max_s: longest segment in seconds.
    """
    return f"""
        SELECT utterance_id AS parent_id, round(duration_s * 1e6)::BIGINT AS duration_us, bad
        FROM {OWN_UTTERANCES} AS utterances LEFT JOIN (
            SELECT parent_id, list(struct_pack(start_us, end_us) ORDER BY start_us, end_us) AS bad
            FROM {stretches} GROUP BY parent_id
        ) ON parent_id = utterance_id
        WHERE NOT {_is_shorter(min_s)} AND (bad IS NOT NULL OR round(duration_s * 1e6) > {round(max_s * 1e6)})
    """


def _is_shorter(min_s: float) -> str:
    return f"round(duration_s * 1e6) < {round(min_s * 1e6)}"


def span_utterances(
    spans: str, measurements: str, measured_columns: Sequence[str], texts: str, text_columns: Sequence[str]
) -> str:
    """Returns the query for the good spans as rows of `utterances`.

    Measurements and texts are those of the span. A span has no anomalies. The ratings are null, because `frames` does not have
    them. All other columns are those of its utterance.

    Args:
        spans: name of the table of good spans.
        measurements: name of the table of measurements of the spans.
        measured_columns: columns of `utterances` that this table replaces.
        texts: name of the table of the rows of `PieceTexts.rows`.
        text_columns: columns of the corpus that this table replaces.
    """
    replaced = [f"measured.{name} AS {name}" for name in measured_columns]
    replaced += [f"NULL::FLOAT AS {name}" for name in RATINGS]
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
