"""An utterance of an output, found by its id or by where it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from transforms.elements import printable
from transforms.errors import OutputError
from transforms.output.results import Results
from transforms.storage.files import absolute

CLOSE_MATCHES = 3
# A similarity (Jaro and Winkler's, 0 to 1) from which on one name may be meant for another.
CLOSE = 0.8


@dataclasses.dataclass(frozen=True)
class FoundUtterance:
    """An utterance of an output, with all that was written of it.

    Attributes:
        row: of `utterances`.
        frame_score: of its frames [T].
        anomalies: (start_s, end_s) of each.
    """

    row: dict[str, Any]
    frame_score: np.ndarray
    anomalies: list[tuple[float, float]]


def find_utterance(results: Results, name: str) -> FoundUtterance:
    """Finds an utterance.

    Args:
        results: the output.
        name: its id, or the path or URI of its recording.

    Raises:
        OutputError: there is none, it was rejected, or the recording holds several.
    """
    connection = results.connect()
    places = [name, printable(name), printable(absolute(name))]
    ids = _ids(connection, "SELECT utterance_id FROM utterances WHERE utterance_id = ?", name)
    if not ids:
        ids = _ids(
            connection,
            "SELECT utterance_id FROM utterances WHERE list_contains(?, uri) ORDER BY start_s, channel",
            places,
        )
    if len(ids) > 1:
        raise OutputError(
            f"{name}: {len(ids)} utterances of {results.root} are in it; name one of them, {_listed(ids)}"
        )
    if ids:
        return load(results, ids)[ids[0]]
    rejected = connection.execute(
        "SELECT stage, reason, detail FROM rejects WHERE utterance_id = ? OR list_contains(?, uri)", [name, places]
    ).fetchone()
    if rejected:
        raise OutputError(f"{name}: has no score in {results.root}: {rejected[1]} ({rejected[0]}: {rejected[2]})")
    close = _ids(
        connection,
        "SELECT utterance_id FROM (SELECT utterance_id, contains(utterance_id, $name) AS within, "
        "jaro_winkler_similarity(utterance_id, $name) AS close FROM utterances) "
        f"WHERE within OR close > {CLOSE} ORDER BY within DESC, close DESC, utterance_id LIMIT {CLOSE_MATCHES}",
        {"name": name},
    )
    meant = f"; is {_listed(close)} meant?" if close else ""
    raise OutputError(f"{name}: is neither an utterance nor a recording of {results.root}{meant}")


def load(results: Results, ids: Sequence[str]) -> dict[str, FoundUtterance]:
    """All that was written of some utterances, by id, in the order in which they are asked for.

    The frames of an output are read through once, whatever is asked for.
    """
    wanted = ds.field("utterance_id").isin(pa.array(ids, pa.string()))
    rows = {row["utterance_id"]: row for row in results.dataset("utterances").to_table(filter=wanted).to_pylist()}
    frames = results.dataset("frames").to_table(columns=["utterance_id", "frame", "score"], filter=wanted)
    frames = frames.take(pc.sort_indices(frames, [("utterance_id", "ascending"), ("frame", "ascending")]))
    runs = pc.run_end_encode(frames["utterance_id"].combine_chunks())
    parts = np.split(frames["score"].to_numpy(), runs.run_ends.to_numpy()[:-1]) if len(frames) else []
    scores = dict(zip(runs.values.to_pylist(), parts, strict=True))
    anomalies: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for row in results.dataset("anomalies").to_table(filter=wanted).to_pylist():
        anomalies[row["utterance_id"]].append((row["start_s"], row["end_s"]))
    return {name: FoundUtterance(rows[name], scores[name], sorted(anomalies[name])) for name in ids}


def _ids(connection: duckdb.DuckDBPyConnection, query: str, value: Any) -> list[str]:
    return [row[0] for row in connection.execute(query, value if isinstance(value, dict) else [value]).fetchall()]


def _listed(ids: Sequence[str]) -> str:
    shown = ", ".join(map(repr, ids[:CLOSE_MATCHES]))
    return shown if len(ids) <= CLOSE_MATCHES else f"{shown}, ..."
