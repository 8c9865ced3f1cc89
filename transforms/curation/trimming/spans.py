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

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from model.activity import EDGE_FRAMES, MIN_ACTIVE_FRAMES
from model.diagnosis import HEARD_CAUSES
from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from model.pooling import Pooling, pool
from transforms import schemas
from transforms.audio.signal_facts import facts_of
from transforms.curation.duckdb_rows import OWN_UTTERANCES, quoted
from transforms.curation.trimming.parent import TrimmedParent
from transforms.elements import FrameFacts, SignalFacts
from transforms.scoring import verdicts

# Shortest span that trimming may keep: a span needs several frames.
LEAST_S = 0.1
_SHIFT_US = FRAME_SHIFT * 1_000_000 // SAMPLE_RATE
_FRAME_US = FRAME_LENGTH * 1_000_000 // SAMPLE_RATE
# Limits the frames that are in memory at the same time, unless one utterance has more.
_FRAMES_AT_A_TIME = 5_000_000
# Number of utterances that the pooling is inferred from, and the largest error of their scores on the label scale.
_POOLING_SAMPLE, _POOLING_TOLERANCE = 20, 0.01
# A span with less activity has no speech, at most the end of a word that was cut off.
_LEAST_ACTIVE_FRAMES = MIN_ACTIVE_FRAMES

_ID = "format('{}#{:.3f}-{:.3f}', parent_id, start_us / 1e6, end_us / 1e6)"
# The last span ends where the utterance ends, which may lie between two microseconds.
_SPAN_S = (
    "CASE WHEN spans.is_last THEN utterances.duration_s - spans.start_us / 1e6 "
    "ELSE (spans.end_us - spans.start_us) / 1e6 END"
)
# Index of a frame's cause in `HEARD_CAUSES`, or `NO_CAUSE`, which is -1.
_CAUSE_INDEX = f"(coalesce(list_position({list(HEARD_CAUSES)}, cause), 0) - 1)::TINYINT"
_FRAME_FACTS = tuple(field.name for field in dataclasses.fields(FrameFacts))
_SIGNAL_FACTS = tuple(field.name for field in dataclasses.fields(SignalFacts))
_PARENT_COLUMNS = [
    "score",
    "num_frames",
    "dc_offset",
    "hum_db",
    "rms_dbfs",
    "clipped_ratio",
    "active_s",
    "speech_s",
    "flags",
    "causes",
    "format",
]
# Columns of `utterances` that are measured on a span.
_MEASURED = (
    *("num_frames", "score", "frame_score_p10", "frame_score_min", "frame_score_std"),
    *(*_SIGNAL_FACTS, "speech_s", "flags", "causes"),
)
# `utterance_id` of a span, `is_silent` (whether it has no speech), and columns of `utterances`.
MEASUREMENTS = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("is_silent", pa.bool_()),
        *((name, schemas.UTTERANCES.field(name).type) for name in _MEASURED),
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


def span_utterances(spans: str, measurements: str, texts: str, text_columns: Sequence[str]) -> str:
    """Returns the query for the good spans as rows of `utterances`.

    Scores, signal facts, `speech_s`, flags, causes and texts are those of the span. A span has no anomalies. The other values
    that the model hears are null, because `frames` does not have them. All other columns are those of its utterance.

    Args:
        spans: name of the table of good spans.
        measurements: name of the table of the rows of `measure_spans`.
        texts: name of the table of the rows of `PieceTexts.rows`.
        text_columns: columns of the corpus that this table replaces.
    """
    replaced = [f"measured.{name} AS {name}" for name in _MEASURED]
    replaced += [f"NULL::FLOAT AS {name}" for name in schemas.HEARD]
    replaced += [f"texts.{quoted(name)} AS {quoted(name)}" for name in text_columns]
    return f"""
        SELECT utterances.* REPLACE (
            spans.utterance_id AS utterance_id,
            utterances.start_s + spans.start_us / 1e6 AS start_s,
            {_SPAN_S} AS duration_s,
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


def measure_spans(connection: duckdb.DuckDBPyConnection, spans: str) -> Iterator[dict[str, Any]]:
    """Computes the scores and the signal facts of each good span from its frames, as `audiosieve score` does.

    Args:
        connection: DuckDB over an output.
        spans: name of the table of good spans.

    Yields:
        The row of `MEASUREMENTS` of each span.

    Raises:
        TrimError: frames or their measurements are missing, or the pooling of the model is unknown.
    """
    pooling = _pooling(connection, spans)
    ((num_spans, num_frames),) = connection.execute(f"""
        SELECT (SELECT count(*) FROM {spans}), coalesce(sum(num_frames), 0)
        FROM utterances WHERE utterance_id IN (SELECT parent_id FROM {spans})
    """).fetchall()
    measured = 0
    parts = 1 + int(num_frames) // _FRAMES_AT_A_TIME
    for part in range(parts):
        for parent in _parents(connection, spans, f"hash(parent_id) % {parts} = {part}"):
            for span in parent.row["spans"]:
                measured += 1
                yield _measure(parent, span, pooling)
    if measured != num_spans:
        raise _missing_frames()


def _measure(parent: TrimmedParent, span: dict[str, Any], pooling: Pooling) -> dict[str, Any]:
    part = slice(span["first_frame"], span["last_frame"] + 1)
    frames = FrameFacts(**{name: getattr(parent.frame_facts, name)[part] for name in _FRAME_FACTS})
    clipped_share = float(parent.frame_facts.clipped.mean())
    facts = facts_of(
        frames,
        dc_offset=parent.row["dc_offset"],
        hum_dbfs=parent.hum_dbfs,
        clipped_per_frame=parent.row["clipped_ratio"] / clipped_share if clipped_share else 0.0,
    )
    marks = parent.marks_of(frames)
    speech_s = parent.speech_s(part)
    flags = verdicts.flags(facts, marks, span["duration_s"], parent.row["format"], speech_s)
    frame_score = parent.frame_score[part]
    counted = _away_from_cuts(frames.activity.counted, part, len(parent.frame_score))
    counted_score = frame_score[counted]
    # Faint noise between anomalies is activity by its own level, but not by that of the utterance.
    active = np.count_nonzero(parent.frame_facts.activity.active[part] & frames.activity.active)
    return {
        "utterance_id": span["utterance_id"],
        "is_silent": active < _LEAST_ACTIVE_FRAMES,
        "num_frames": len(frame_score),
        "score": pool(counted_score, pooling),
        "frame_score_p10": np.percentile(counted_score, 10),
        "frame_score_min": counted_score.min(),
        "frame_score_std": counted_score.std(),
        **dataclasses.asdict(facts),
        "speech_s": facts.active_s if speech_s is None else speech_s,
        "flags": flags,
        "causes": verdicts.causes(facts, flags, marks, parent.heard_causes(part, counted)),
    }


def _away_from_cuts(counted: np.ndarray, part: slice, num_frames: int) -> np.ndarray:
    """Returns the counted frames of a piece without 2 frames next to what was cut off, whose scores saw that too: bool [t]."""
    away = counted.copy()
    if part.start > 0:
        away[:EDGE_FRAMES] = False
    if part.stop < num_frames:
        away[-EDGE_FRAMES:] = False
    return away if away.any() else counted


def _parents(connection: duckdb.DuckDBPyConnection, spans: str, condition: str) -> Iterator[TrimmedParent]:
    """Yields the utterances of those spans that meet an SQL condition.

    Raises:
        TrimError: frames or their measurements are missing.
    """
    row = ", ".join(_PARENT_COLUMNS)
    of_parent = f"""
        SELECT parent_id, list(struct_pack(utterance_id := spans.utterance_id, first_frame := first_frame,
            last_frame := last_frame, duration_s := {_SPAN_S})) AS spans
        FROM {spans} AS spans JOIN {OWN_UTTERANCES} AS utterances ON utterances.utterance_id = parent_id
        WHERE {condition} GROUP BY parent_id
    """
    query = f"""
        SELECT {row}, spans FROM ({of_parent}) JOIN {OWN_UTTERANCES} AS utterances ON utterance_id = parent_id
        ORDER BY parent_id
    """
    parents = connection.sql(query).to_arrow_table().to_pylist()
    names = ("score", *_FRAME_FACTS)
    frames = connection.sql(f"""
        WITH numbered AS (
            SELECT parent_id, (row_number() OVER (ORDER BY parent_id) - 1)::INTEGER AS number
            FROM (SELECT DISTINCT parent_id FROM {spans} WHERE {condition})
        )
        SELECT number, {", ".join(names)}, speech, {_CAUSE_INDEX} AS cause
        FROM frames JOIN numbered ON utterance_id = parent_id ORDER BY number, frame
    """).to_arrow_table()
    if any(frames[name].null_count for name in names):
        raise TrimError(
            "--trim needs the measurements of frames, such as `level_dbfs`, and `frames` lacks them; an older version "
            "scored the corpus; score it again with --overwrite"
        )
    edges = np.searchsorted(frames["number"].to_numpy(), np.arange(len(parents) + 1))
    columns = {name: frames[name].to_numpy() for name in (*names, "speech", "cause")}
    del frames
    for parent, (first, end) in zip(parents, itertools.pairwise(edges.tolist()), strict=True):
        if end - first != parent["num_frames"]:
            raise _missing_frames()
        frame_facts = FrameFacts(**{name: columns[name][first:end] for name in _FRAME_FACTS})
        score, speech, causes = (columns[name][first:end] for name in ("score", "speech", "cause"))
        yield TrimmedParent(parent, score, frame_facts, speech, causes)


def _missing_frames() -> TrimError:
    return TrimError(
        "--trim needs the frame scores of all utterances with anomalies, and some are missing in `frames`; score again"
    )


def _pooling(connection: duckdb.DuckDBPyConnection, spans: str) -> Pooling:
    """Infers the pooling from scores and frame scores, because the bundle may have been deleted."""
    sample = f"""
        SELECT utterance_id FROM utterances WHERE utterance_id IN (SELECT parent_id FROM {spans})
        ORDER BY num_frames, utterance_id LIMIT {_POOLING_SAMPLE}
    """
    error: dict[Pooling, float] = {"mean": 0.0, "pesq": 0.0}
    for parent in _parents(connection, spans, f"parent_id IN ({sample})"):
        counted_score = parent.frame_score[parent.frame_facts.activity.counted]
        for pooling, largest in error.items():
            error[pooling] = max(largest, abs(pool(counted_score, pooling) - parent.row["score"]))
    best = min(error, key=lambda pooling: error[pooling])
    if error[best] > _POOLING_TOLERANCE:
        raise TrimError(
            f"--trim cannot score spans: the utterance scores differ by {error[best]:.2f} from every known pooling of their "
            "frame scores; filter without --trim"
        )
    return best
