"""Committed rows of outputs, and their comparison."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import audiosieve
from transforms.schemas import SCORE_TABLES
from transforms.scoring.rows import SPEECH_STEPS

# The other recordings in a batch change the last digits of what the network gives. `speech` is rounded to steps.
TOLERANCE = 1e-3
TOLERANCE_OF = {"speech": 1 / SPEECH_STEPS + TOLERANCE}


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
            differ = {name: (one[name], other[name]) for name in one if not _alike(name, one[name], other[name])}
            assert not differ, (table, other["utterance_id"], differ)


def _key(row: dict[str, Any]) -> tuple[str, int, float]:
    return row["utterance_id"], row.get("frame", 0), row.get("start_s", 0.0)


def _alike(name: str, one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        tolerance = TOLERANCE_OF.get(name, TOLERANCE)
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=tolerance)
    return one == other
