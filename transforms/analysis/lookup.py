"""Finds an utterance of an output by its id or by the path of its recording."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from model.activity import find_activity
from model.anomalies import find_threshold
from model.diagnosis import HEARD_CAUSES, NO_CAUSE
from model.labels import LabelScale
from transforms.elements import printable
from transforms.errors import OutputError
from transforms.output.results import Results, current_utterances
from transforms.scoring.utterance_score import is_dropped
from transforms.storage.files import absolute

# Largest number of ids that an error suggests.
MAX_SUGGESTIONS = 3
# Lowest Jaro-Winkler similarity (0 to 1) of an id to a misspelt one, for which an error suggests it.
MIN_SIMILARITY = 0.8


@dataclasses.dataclass(frozen=True)
class FoundUtterance:
    """An utterance of an output with its rows of all tables.

    Attributes:
        row: its row of `utterances`.
        frame_score: its frame scores: float32 [T].
        frame_causes: index in `HEARD_CAUSES` of the cause of each frame, or `NO_CAUSE`: int8 [T]. None if the model has no
            diagnosis.
        anomalies: (start_s, end_s) of each anomaly.
        judged: whether a frame is audible and not dropped, so that it may be part of an anomaly: bool [T].
    """

    row: dict[str, Any]
    frame_score: np.ndarray
    frame_causes: np.ndarray | None
    anomalies: list[tuple[float, float]]
    judged: np.ndarray

    def anomaly_threshold(self, scale: LabelScale) -> float | None:
        """Returns the score below which a frame is evidence of an anomaly; None if too few frames are audible."""
        return find_threshold(self.frame_score, scale.span, self.judged)


def find_utterance(results: Results, name: str) -> FoundUtterance:
    """Finds an utterance.

    Args:
        results: the output.
        name: utterance id, or path or URI of the recording.

    Raises:
        OutputError: there is no such utterance, it was rejected, or the recording has several utterances.
    """
    connection = results.connect()
    uris = [name, printable(name), printable(absolute(name))]
    ids = _ids(connection, "SELECT utterance_id FROM utterances WHERE utterance_id = ?", name)
    if not ids:
        ids = _ids(
            connection,
            "SELECT utterance_id FROM utterances WHERE list_contains(?, uri) ORDER BY start_s, channel",
            uris,
        )
    if len(ids) > 1:
        raise OutputError(
            f"{name}: has {len(ids)} utterances in {results.root}; give the id of one, such as {_listed(ids)}"
        )
    if ids:
        return load(results, ids)[ids[0]]
    rejected = connection.execute(
        "SELECT stage, reason, detail FROM rejects WHERE utterance_id = ? OR list_contains(?, uri)", [name, uris]
    ).fetchone()
    if rejected:
        raise OutputError(f"{name}: was rejected in {results.root}: {rejected[1]} ({rejected[0]}: {rejected[2]})")
    suggestions = _ids(
        connection,
        "SELECT utterance_id FROM (SELECT utterance_id, contains(utterance_id, $name) AS within, "
        "jaro_winkler_similarity(utterance_id, $name) AS similarity FROM utterances) "
        f"WHERE within OR similarity > {MIN_SIMILARITY} "
        f"ORDER BY within DESC, similarity DESC, utterance_id LIMIT {MAX_SUGGESTIONS}",
        {"name": name},
    )
    hint = f" (did you mean {_listed(suggestions)}?)" if suggestions else ""
    raise OutputError(f"{name}: no such utterance or recording in {results.root}{hint}")


def load(results: Results, ids: Sequence[str]) -> dict[str, FoundUtterance]:
    """Loads utterances with their frame scores and anomalies. Reads the table `frames` once.

    Args:
        results: the output.
        ids: utterance ids, all in the output.

    Returns:
        Utterances by id, in the order of `ids`.
    """
    has_id = ds.field("utterance_id").isin(pa.array(ids, pa.string()))
    rows = {row["utterance_id"]: row for row in _utterance_rows(results, has_id)}
    columns = ["utterance_id", "frame", "score", "speech", "cause", "level_dbfs", "dropout_s"]
    frames = results.dataset("frames").to_table(columns=columns, filter=has_id)
    frames = frames.take(pc.sort_indices(frames, [("utterance_id", "ascending"), ("frame", "ascending")]))
    runs = pc.run_end_encode(frames["utterance_id"].combine_chunks())
    starts = [0, *runs.run_ends.to_pylist()]
    parts = [frames.slice(start, end - start) for start, end in itertools.pairwise(starts)]
    frames_of = dict(zip(runs.values.to_pylist(), parts, strict=True))
    anomalies: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for row in results.dataset("anomalies").to_table(filter=has_id).to_pylist():
        anomalies[row["utterance_id"]].append((row["start_s"], row["end_s"]))
    return {
        name: FoundUtterance(
            rows[name],
            frames_of[name]["score"].to_numpy(),
            _frame_causes(frames_of[name]),
            sorted(anomalies[name]),
            _judged(frames_of[name]),
        )
        for name in ids
    }


def _utterance_rows(results: Results, condition: ds.Expression) -> list[dict[str, Any]]:
    stored = results.dataset("utterances").to_table(filter=condition)
    with duckdb.connect() as connection:
        connection.register("stored", stored)
        rows: list[dict[str, Any]] = connection.sql(current_utterances("stored")).to_arrow_table().to_pylist()
        return rows


def _frame_causes(frames: pa.Table) -> np.ndarray | None:
    if frames["speech"].null_count:
        return None
    index = pc.index_in(frames["cause"].cast(pa.string()), pa.array(HEARD_CAUSES))
    return np.asarray(pc.fill_null(index, NO_CAUSE).to_numpy().astype(np.int8))


def _judged(frames: pa.Table) -> np.ndarray:
    if frames["level_dbfs"].null_count or frames["dropout_s"].null_count:  # an older version wrote the rows
        return np.ones(len(frames), bool)
    power = 10 ** (frames["level_dbfs"].to_numpy().astype(np.float64) / 10)
    return find_activity(power).active & ~is_dropped(frames["dropout_s"].to_numpy())


def _ids(connection: duckdb.DuckDBPyConnection, query: str, value: Any) -> list[str]:
    return [row[0] for row in connection.execute(query, value if isinstance(value, dict) else [value]).fetchall()]


def _listed(ids: Sequence[str]) -> str:
    text = ", ".join(map(repr, ids[:MAX_SUGGESTIONS]))
    return text if len(ids) <= MAX_SUGGESTIONS else f"{text}, ..."
