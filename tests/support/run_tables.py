"""Rows of utterances and rejects, written and committed as a run does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.outputs import written
from transforms.elements import AudioRef
from transforms.output.ledger import Job, Ledger

RUN = "20260101T000000Z-aaaaaa"


def ref(name: str, version: str = "1", **changes: object) -> AudioRef:
    """Returns an utterance of the corpus."""
    return AudioRef(name, f"/corpus/{name}", 10, version, **changes)  # type: ignore[arg-type]


def row(name: str, version: str = "1", uri: str | None = None, **columns: object) -> dict:
    """Returns the row of an utterance."""
    return {"utterance_id": name, "uri": uri or f"/corpus/{name}", "source_version": version, **columns}


def write(
    ledger: Ledger,
    scored: Sequence[dict] = (),
    rejected: Sequence[dict] = (),
    run_id: str = RUN,
    frames: int | None = None,
) -> None:
    """Writes the tables of a run, with three frames for each scored utterance unless their number is given."""
    utterances = [{"duration_s": 2.0, "num_frames": 3, "score": 3.25, **item} for item in scored]
    tables = {
        "utterances": utterances,
        "rejects": [{"stage": "decode", "reason": "silent", **item} for item in rejected],
        "frames": [{"frame": i} for i in range(3 * len(utterances) if frames is None else frames)],
    }
    for table, rows in tables.items():
        if rows:
            path = Path(f"{ledger.prefix(table, run_id)}-00000-of-00001.parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), path)


def commit(ledger: Ledger, scored: Sequence[dict] = (), rejected: Sequence[dict] = ()) -> None:
    """Writes and commits a run."""
    write(ledger, scored, rejected)
    ledger.commit(RUN, {"job": Job.SCORE}, written(ledger, RUN))
