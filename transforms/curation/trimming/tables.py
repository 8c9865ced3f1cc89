"""Makes the DuckDB tables of trimmed utterances: what is left of them, and what is removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from model.anomalies import MAX_PAUSE
from model.diagnosis import SPEECH_THRESHOLD
from transforms.curation.duckdb_rows import spill
from transforms.curation.piece_texts import PieceTexts
from transforms.curation.trimming.bad_stretches import (
    STRETCHES,
    anomaly_stretches,
    check_causes,
    frame_stretches,
    padded_stretches,
)
from transforms.curation.trimming.frames import read_parents
from transforms.curation.trimming.measurement import MEASURED, MEASUREMENTS, measure_spans
from transforms.curation.trimming.parent import TrimmedParent
from transforms.curation.trimming.plan import SegmentLimits, TrimPlan
from transforms.curation.trimming.segments import find_segments, part_row
from transforms.curation.trimming.spans import (
    FRAME_US,
    SHIFT_US,
    check_new_ids,
    divided_utterances,
    dropped_parts,
    good_spans,
    removed_spans,
    segment_spans,
    span_utterances,
)

_PARTS = pa.schema(
    [
        ("parent_id", pa.string()),
        *((name, pa.int64()) for name in ("start_us", "end_us", "first_frame", "last_frame")),
        ("is_last", pa.bool_()),
        ("rule", pa.string()),
    ]
)


def make_tables(
    connection: duckdb.DuckDBPyConnection,
    texts: PieceTexts,
    scratch: Path,
    plan: TrimPlan,
    limits: SegmentLimits | None,
) -> None:
    """Makes the tables of trimmed utterances.

    - `spans`: the good spans or the segments (see `trimming.spans`);
    - `span_rows`: these as rows of `utterances`;
    - `span_texts`: the rows of `PieceTexts.rows`;
    - `removed`: the removed parts (see `trimming.spans`).

    Args:
        connection: DuckDB over an output.
        texts: texts and word times of the corpus.
        scratch: folder for data that does not fit into memory.
        plan: what to cut out.
        limits: limits of the length of segments; None to keep the spans whole.

    Raises:
        TrimError: the stretches cannot be found, or the spans cannot get scores or ids.
    """
    check_causes(connection, plan)
    stretches = anomaly_stretches(plan)
    if plan.reads_frames:
        rows = spill(frame_stretches(connection, plan), STRETCHES, scratch / "stretches.parquet")
        connection.register("frame_stretches", rows)
        stretches += " UNION ALL FROM frame_stretches"
    connection.execute(f"CREATE TEMP TABLE stretches AS {padded_stretches(stretches, plan.pad_s)}")
    if limits is None:
        connection.execute(f"CREATE TEMP TABLE spans AS {good_spans('stretches', plan.min_s)}")
    else:
        parts = spill(_parts(connection, texts, limits, plan.pad_s), _PARTS, scratch / "parts.parquet")
        connection.register("parts", parts)
        connection.execute(f"CREATE TEMP TABLE spans AS {segment_spans('parts')}")
    measured = spill(measure_spans(connection, "spans"), MEASUREMENTS, scratch / "measured.parquet")
    connection.register("measured", measured)
    # A span without speech is not an utterance.
    connection.execute("DELETE FROM spans WHERE utterance_id IN (SELECT utterance_id FROM measured WHERE is_silent)")
    removed = (
        removed_spans("spans", "stretches") if limits is None else dropped_parts("parts", "measured", limits.min_s)
    )
    connection.execute(f"CREATE TEMP TABLE removed AS {removed}")
    check_new_ids(connection, "spans", "removed")
    piece_texts = spill(texts.rows(connection, "spans"), texts.schema, scratch / "span_texts.parquet")
    connection.register("span_texts", piece_texts)
    span_rows = span_utterances("spans", "measured", MEASURED, "span_texts", texts.columns)
    connection.execute(f"CREATE TEMP TABLE span_rows AS {span_rows}")


def _parts(
    connection: duckdb.DuckDBPyConnection, texts: PieceTexts, limits: SegmentLimits, pad_s: float
) -> Iterator[dict[str, Any]]:
    """Divides utterances into segments; yields all their parts as rows of `_PARTS`."""
    divided = divided_utterances("stretches", limits.min_s, limits.max_s)
    connection.execute(f"CREATE TEMP TABLE divided AS {divided}")
    for parent in read_parents(connection, "divided", texts.words):
        row = parent.row
        has_speech = parent.frame_facts.activity.active
        if parent.hears_speech:
            has_speech = parent.speech >= SPEECH_THRESHOLD
        parts = find_segments(
            has_speech,
            parent.frame_facts.level_dbfs,
            row["duration_us"],
            limits,
            _without_silences(
                [(stretch["start_us"], stretch["end_us"]) for stretch in row["bad"] or ()], parent, pad_s
            ),
            texts.words_of(row),
        )
        for part in parts:
            yield {"parent_id": row["parent_id"], **part_row(part, len(has_speech))}


def _without_silences(bad: list[tuple[int, int]], parent: TrimmedParent, pad_s: float) -> list[tuple[int, int]]:
    """Returns the bad stretches that are not long silences. Those are pauses between segments; a short one is a dropout.

    Args:
        bad: start and end of the stretches with their margin, in microseconds.
        parent: utterance that has them.
        pad_s: margin on both sides in seconds.
    """
    pad_us = round(pad_s * 1_000_000)

    def is_silence(start_us: int, end_us: int) -> bool:
        first, last = (start_us + pad_us) // SHIFT_US, (end_us - pad_us - FRAME_US) // SHIFT_US
        return last - first >= MAX_PAUSE and not parent.frame_facts.activity.active[first : last + 1].any()

    return [stretch for stretch in bad if not is_silence(*stretch)]
