"""Reads the utterances that are trimmed, with their rows of `frames`."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import duckdb
import numpy as np

from model.diagnosis import HEARD_CAUSES
from transforms.curation.duckdb_rows import OWN_UTTERANCES, quoted
from transforms.curation.trimming.parent import LENGTH_OF_CAUSE, TrimmedParent
from transforms.curation.trimming.plan import TrimError
from transforms.elements import FrameFacts

FRAME_FACTS = tuple(field.name for field in dataclasses.fields(FrameFacts))
# Columns that a model leaves null where it does not hear them. An older version did not write all of them.
_HEARD = ("speech", "snr_db", "c50_db")
# Limits the frames that are in memory at the same time, unless one utterance has more.
_FRAMES_AT_A_TIME = 5_000_000
# Index of a frame's cause in `HEARD_CAUSES`, or `NO_CAUSE`, which is -1.
_CAUSE_INDEX = f"(coalesce(list_position({list(HEARD_CAUSES)}, cause), 0) - 1)::TINYINT"
_COLUMNS = (
    *("score", "duration_s", "num_frames", "dc_offset", "hum_db", "rms_dbfs", "clipped_ratio", "active_s", "speech_s"),
    *("flags", "causes", "format", *LENGTH_OF_CAUSE.values()),
)


def read_parents(
    connection: duckdb.DuckDBPyConnection, table: str, further: Sequence[str] = (), condition: str = "true"
) -> Iterator[TrimmedParent]:
    """Yields utterances with their frames, as many at a time as fit into memory.

    Args:
        connection: DuckDB over an output.
        table: name of a table with the ids of utterances, `parent_id`, each once. Its columns are added to the rows.
        further: further columns of `utterances` for the rows.
        condition: SQL condition on `parent_id`.

    Raises:
        TrimError: frames or their measurements are missing.
    """
    ((num_frames,),) = connection.execute(f"""
        SELECT coalesce(sum(num_frames), 0) FROM utterances
        WHERE utterance_id IN (SELECT parent_id FROM {table} WHERE {condition})
    """).fetchall()
    parts = 1 + int(num_frames) // _FRAMES_AT_A_TIME
    for part in range(parts):
        yield from _read(connection, table, further, f"({condition}) AND hash(parent_id) % {parts} = {part}")


def _read(
    connection: duckdb.DuckDBPyConnection, table: str, further: Sequence[str], condition: str
) -> Iterator[TrimmedParent]:
    selected = f"SELECT * FROM {table} WHERE {condition}"
    row = ", ".join([*_COLUMNS, *(f"all_columns.{quoted(name)}" for name in further)])
    joined = (
        f"JOIN (SELECT utterance_id{''.join(f', {quoted(name)}' for name in further)} FROM utterances) AS all_columns "
        "ON all_columns.utterance_id = parent_id"
    )
    query = f"""
        SELECT selected.*, {row} FROM ({selected}) AS selected
        JOIN {OWN_UTTERANCES} AS utterances ON utterances.utterance_id = parent_id {joined if further else ""}
        ORDER BY parent_id
    """
    parents = connection.sql(query).to_arrow_table().to_pylist()
    names = ("score", *FRAME_FACTS)
    frames = connection.sql(f"""
        WITH numbered AS (
            SELECT parent_id, (row_number() OVER (ORDER BY parent_id) - 1)::INTEGER AS number FROM ({selected})
        )
        SELECT number, {", ".join(names)}, {", ".join(_HEARD)}, {_CAUSE_INDEX} AS cause
        FROM frames JOIN numbered ON utterance_id = parent_id ORDER BY number, frame
    """).to_arrow_table()
    if any(frames[name].null_count for name in names):
        raise TrimError(
            "--trim and --segment need the measurements of frames, such as `level_dbfs`, and `frames` lacks them; an older "
            "version scored the corpus; score it again with --overwrite"
        )
    edges = np.searchsorted(frames["number"].to_numpy(), np.arange(len(parents) + 1))
    columns = {name: frames[name].to_numpy() for name in (*names, *_HEARD, "cause")}
    del frames
    for parent, (first, end) in zip(parents, itertools.pairwise(edges.tolist()), strict=True):
        if end - first != parent["num_frames"]:
            raise missing_frames()
        frame_facts = FrameFacts(**{name: columns[name][first:end] for name in FRAME_FACTS})
        heard = {name: columns[name][first:end] for name in _HEARD}
        yield TrimmedParent(
            parent, columns["score"][first:end], frame_facts, frame_causes=columns["cause"][first:end], **heard
        )


def missing_frames() -> TrimError:
    """Returns the error for utterances without all of their frames."""
    return TrimError(
        "--trim and --segment need the frame scores of all utterances that they cut, and some are missing in `frames`; score "
        "again"
    )
