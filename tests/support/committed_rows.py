"""Committed rows of outputs, and their comparison."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import audiosieve
from transforms.schemas import SCORE_TABLES
from transforms.scoring.rows import SPEECH_STEPS

# The other recordings in a batch change the last digits of what the network gives. Some columns of frames are rounded to steps.
TOLERANCE = 1e-3
TOLERANCE_OF = {
    ("frames", "speech"): 1 / SPEECH_STEPS + TOLERANCE,
    ("frames", "snr_db"): 1 + TOLERANCE,
    ("frames", "c50_db"): 1 + TOLERANCE,
}


def committed_rows(output: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns the committed rows of each table of a run, sorted by their keys."""
    run = audiosieve.open_run(output)
    return {table: sorted(run.dataset(table).to_table().to_pylist(), key=_key) for table in SCORE_TABLES}


def assert_alike(found: dict[str, list[dict[str, Any]]], expected: dict[str, list[dict[str, Any]]]) -> None:
    """Asserts that two results have the same rows, but for the last digits of numbers."""
    assert found.keys() == expected.keys()
    for table, rows in expected.items():
        assert len(found[table]) == len(rows), table
        for one, other in zip(found[table], rows, strict=True):
            assert one.keys() == other.keys(), table
            differ = {name: (one[name], other[name]) for name in one if not _alike(table, name, one, other)}
            assert not differ, (table, other["utterance_id"], differ)


def _key(row: dict[str, Any]) -> tuple[str, int, float]:
    return row["utterance_id"], row.get("frame", 0), row.get("start_s", 0.0)


def _alike(table: str, name: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    tolerance = TOLERANCE_OF.get((table, name), TOLERANCE)
    if isinstance(one[name], float) and isinstance(other[name], float):
        return math.isclose(one[name], other[name], rel_tol=1e-4, abs_tol=tolerance)
    if (table, name) in (("frames", "snr_db"), ("frames", "c50_db")) and one[name] != other[name]:
        # It is null where `speech` is 0, which may differ by a step.
        return max(one["speech"] or 0, other["speech"] or 0) <= TOLERANCE_OF["frames", "speech"]
    return bool(one[name] == other[name])
