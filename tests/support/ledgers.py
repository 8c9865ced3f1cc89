"""Ledgers with small tables: runs that are written, committed and read."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.outputs import written
from transforms.output.ledger import Ledger
from transforms.output.rewrite import rewrite_without

TABLES = ("utterances", "frames", "rejects")
RUN1, RUN2, RUN3 = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb", "20260103T000000Z-cccccc"
SCHEMA = pa.schema([("utterance_id", pa.string()), ("value", pa.int64())], metadata={"model": "m@1"})


def write(ledger: Ledger, table: str, run_id: str, *groups: dict[str, int] | str, shard: int = 0) -> str:
    """Writes a file with a row group for each mapping of ids to values, as a pipeline does; returns its name."""
    path = Path(f"{ledger.prefix(table, run_id)}-{shard:05d}-of-00002.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for group in groups:
            rows = [{"utterance_id": name, "value": value} for name, value in group.items()]
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return f"{table}/{path.name}"


def commit(ledger: Ledger, run_id: str, record: dict | None = None, without: Set[str] = frozenset()) -> dict:
    """Commits the files of a run, and replaces files with rows of some utterances; returns the record."""
    copies, replaced = rewrite_without(ledger, run_id, without)
    files = written(ledger, run_id)
    assert set(copies) <= set(files)
    return ledger.commit(run_id, record or {}, files, replaced)


def held(ledger: Ledger, table: str) -> dict[str, int]:
    """Returns the committed rows of a table."""
    values: dict[str, int] = {}
    for batch in ledger.rows(table, ["utterance_id", "value"]):
        for row in batch.to_pylist():
            assert row["utterance_id"] not in values
            values[row["utterance_id"]] = row["value"]
    return values


def on_disk(ledger: Ledger) -> set[str]:
    """Returns the names of all files in the folder."""
    root = Path(ledger.root)
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
