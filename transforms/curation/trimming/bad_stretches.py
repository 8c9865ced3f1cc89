"""Finds the stretches that trimming cuts out: anomalies, frames with causes of damage, and frames with low scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from model.anomalies import MIN_FRAMES, SMOOTHING, stretches_below, stretches_of
from model.diagnosis import HEARD_CAUSES
from transforms import schemas
from transforms.curation.duckdb_rows import OWN_UTTERANCES
from transforms.curation.trimming.frames import read_parents
from transforms.curation.trimming.parent import LENGTH_OF_CAUSE
from transforms.curation.trimming.plan import TrimError, TrimPlan
from transforms.curation.trimming.spans import FRAME_US, SHIFT_US

STRETCHES = pa.schema([("parent_id", pa.string()), ("start_us", pa.int64()), ("end_us", pa.int64())])


def anomaly_stretches(plan: TrimPlan) -> str:
    """Returns the query for the anomalies that a plan cuts out, with the columns of `STRETCHES`."""
    causes = ", ".join(f"'{cause}'" for cause in plan.causes)
    chosen = "true" if plan.anomalies else f"cause IN ({causes})" if causes else "false"
    # Anomalies start and end on frames, but their times are 32-bit floats, which are too coarse for long recordings.
    return f"""
        SELECT utterance_id AS parent_id, round(start_s * 1e6 / {SHIFT_US})::BIGINT * {SHIFT_US} AS start_us,
            round(end_s * 1e6 / {SHIFT_US})::BIGINT * {SHIFT_US} AS end_us
        FROM anomalies WHERE {chosen}
    """


def padded_stretches(stretches: str, pad_s: float) -> str:
    """Returns the query for stretches with a margin on both sides, within their utterances.

    Args:
        stretches: query with the columns of `STRETCHES`.
        pad_s: margin in seconds.
    """
    pad_us = round(pad_s * 1_000_000)
    return f"""
        SELECT parent_id, greatest(start_us - {pad_us}, 0) AS start_us,
            least(end_us + {pad_us}, round(duration_s * 1e6)::BIGINT) AS end_us
        FROM ({stretches}) JOIN {OWN_UTTERANCES} AS utterances ON utterance_id = parent_id
    """


def check_causes(connection: duckdb.DuckDBPyConnection, plan: TrimPlan) -> None:
    """Checks that the model of an output hears the causes that a plan names.

    Args:
        connection: DuckDB over the output.
        plan: what to cut out.

    Raises:
        TrimError: the model has no diagnosis, or was not trained on one of the causes.
    """
    if not plan.causes:
        return
    advice = "score with another model (score --model), or use --trim anomalies or --trim 'score < NUMBER'"
    counts = ", ".join(f"count({name}) AS {name}" for name in schemas.HEARD)
    values = connection.sql(f"SELECT {counts} FROM utterances").to_arrow_table().to_pylist()[0]
    # A model may hear causes only.
    in_frames = "SELECT count(*) FROM frames WHERE speech IS NOT NULL OR cause IS NOT NULL"
    if not any(values.values()) and connection.execute(in_frames).fetchall() == [(0,)]:
        raise TrimError(
            f"--trim {plan}: the model that scored the corpus has no diagnosis, so it hears no causes; {advice}"
        )
    for cause, column in LENGTH_OF_CAUSE.items():
        if cause in plan.causes and not values[column]:
            raise TrimError(f"--trim {plan}: the model that scored the corpus was not trained on {cause}; {advice}")


def frame_stretches(connection: duckdb.DuckDBPyConnection, plan: TrimPlan) -> Iterator[dict[str, Any]]:
    """Finds the stretches of frames that a plan cuts out by their cause or their score.

    Args:
        connection: DuckDB over an output.
        plan: what to cut out.

    Yields:
        Rows of `STRETCHES`. Stretches may overlap.

    Raises:
        TrimError: frames or their measurements are missing.
    """
    causes = [HEARD_CAUSES.index(cause) for cause in plan.causes]
    named = ", ".join(f"'{cause}'" for cause in plan.causes)
    with_cause = f"count(*) FILTER (WHERE cause IN ({named})) >= {MIN_FRAMES // 2}" if causes else "false"
    # A running median is low only where more than half of its frames are.
    with_score = "false" if plan.below is None else f"count(*) FILTER (WHERE score < {plan.below}) > {SMOOTHING // 2}"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE suspects AS
        SELECT utterance_id AS parent_id FROM frames GROUP BY utterance_id HAVING {with_cause} OR {with_score}
    """)
    for parent in read_parents(connection, "suspects"):
        silent = ~parent.frame_facts.activity.active
        stretches = [] if plan.below is None else stretches_below(parent.frame_score, plan.below, silent)
        if causes:
            stretches += stretches_of(np.isin(parent.frame_causes, causes), silent)
        for start, end in stretches:
            end_us = (end - 1) * SHIFT_US + FRAME_US
            yield {"parent_id": parent.row["parent_id"], "start_us": start * SHIFT_US, "end_us": end_us}
