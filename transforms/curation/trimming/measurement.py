"""Scores and measures the good spans of utterances from the rows of `frames`, as `audiosieve score` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from model.activity import EDGE_FRAMES, MIN_ACTIVE_FRAMES
from model.diagnosis import CERTAIN_SPEECH
from model.pooling import Pooling, pool
from transforms import schemas
from transforms.audio.signal_facts import facts_of
from transforms.curation.duckdb_rows import OWN_UTTERANCES
from transforms.curation.trimming.frames import FRAME_FACTS, read_parents
from transforms.curation.trimming.parent import LENGTH_OF_CAUSE, TrimmedParent
from transforms.curation.trimming.plan import TrimError
from transforms.curation.trimming.spans import SPAN_S
from transforms.elements import FrameFacts, SignalFacts
from transforms.scoring import verdicts

# Number of utterances that the pooling is inferred from, and the largest error of their scores on the label scale.
_POOLING_SAMPLE, _POOLING_TOLERANCE = 20, 0.01
# A span with less activity has no speech, at most the end of a word that was cut off.
_LEAST_ACTIVE_FRAMES = MIN_ACTIVE_FRAMES
_SIGNAL_FACTS = tuple(field.name for field in dataclasses.fields(SignalFacts))
# Columns of `utterances` that are measured on a span.
MEASURED = (
    *("num_frames", "score", "frame_score_p10", "frame_score_min", "frame_score_std"),
    *(*_SIGNAL_FACTS, "speech_s", *LENGTH_OF_CAUSE.values(), "snr_db", "c50_db", "flags", "causes"),
)
# `utterance_id` of a span, `is_silent` (whether it has no speech), and columns of `utterances`.
MEASUREMENTS = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("is_silent", pa.bool_()),
        *((name, schemas.UTTERANCES.field(name).type) for name in MEASURED),
    ]
)


def measure_spans(connection: duckdb.DuckDBPyConnection, spans: str) -> Iterator[dict[str, Any]]:
    """Computes the columns `MEASURED` of each good span from its frames, as `audiosieve score` does.

    Args:
        connection: DuckDB over an output.
        spans: name of the table of good spans.

    Yields:
        The row of `MEASUREMENTS` of each span.

    Raises:
        TrimError: frames or their measurements are missing, or the pooling of the model is unknown.
    """
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE span_parents AS
        SELECT parent_id, list(struct_pack(utterance_id := spans.utterance_id, first_frame := first_frame,
            last_frame := last_frame, duration_s := {SPAN_S})) AS spans
        FROM {spans} AS spans JOIN {OWN_UTTERANCES} AS utterances ON utterances.utterance_id = parent_id GROUP BY parent_id
    """)
    pooling = _pooling(connection, "span_parents")
    for parent in read_parents(connection, "span_parents"):
        for span in parent.row["spans"]:
            yield _measure(parent, span, pooling)


def _measure(parent: TrimmedParent, span: dict[str, Any], pooling: Pooling) -> dict[str, Any]:
    part = slice(span["first_frame"], span["last_frame"] + 1)
    frames = FrameFacts(**{name: getattr(parent.frame_facts, name)[part] for name in FRAME_FACTS})
    clipped_share = float(parent.frame_facts.clipped.mean())
    facts = facts_of(
        frames,
        dc_offset=parent.row["dc_offset"],
        hum_dbfs=parent.hum_dbfs,
        clipped_per_frame=parent.row["clipped_ratio"] / clipped_share if clipped_share else 0.0,
    )
    marks = parent.marks_of(frames)
    speech_s = parent.speech_s(part)
    certain_speech_s = parent.speech_s(part, CERTAIN_SPEECH)
    flags = verdicts.flags(facts, marks, span["duration_s"], parent.row["format"], certain_speech_s)
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
        **parent.heard_values(part),
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


def _pooling(connection: duckdb.DuckDBPyConnection, parents: str) -> Pooling:
    """Infers the pooling from scores and frame scores, because the bundle may have been deleted."""
    sample = f"""
        SELECT utterance_id FROM utterances WHERE utterance_id IN (SELECT parent_id FROM {parents})
        ORDER BY num_frames, utterance_id LIMIT {_POOLING_SAMPLE}
    """
    error: dict[Pooling, float] = {"mean": 0.0, "pesq": 0.0}
    for parent in read_parents(connection, parents, condition=f"parent_id IN ({sample})"):
        counted_score = parent.frame_score[parent.frame_facts.activity.counted]
        for pooling, largest in error.items():
            error[pooling] = max(largest, abs(pool(counted_score, pooling) - parent.row["score"]))
    best = min(error, key=lambda pooling: error[pooling])
    if error[best] > _POOLING_TOLERANCE:
        raise TrimError(
            f"spans cannot get scores: the utterance scores differ by {error[best]:.2f} from every known pooling of their "
            "frame scores; filter without --trim and --segment"
        )
    return best
