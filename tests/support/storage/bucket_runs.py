"""Runs of the command line on a bucket, and their committed rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from apache_beam.io.gcp import gcsio_retry

from tests.support.storage.gcs_emulator import Bucket
from transforms.output.ledger import Job, Ledger, names_that_count
from transforms.schemas import SCORE_TABLES

FEW = ("clean.flac", "corrupt.flac", "noise_20db.flac")
# Columns that differ between two places of the same recording.
_PLACE_COLUMNS = ("uri", "source_version", "size_bytes", "detail")


def tables(output: Path) -> dict[str, list[dict]]:
    """Returns all committed rows, sorted, without the columns that depend on the place."""
    records = Ledger(str(output), tuple(SCORE_TABLES)).runs(Job.SCORE)
    rows_of = {}
    for table in SCORE_TABLES:
        rows = [
            {name: value for name, value in row.items() if name not in _PLACE_COLUMNS}
            for name in names_that_count(records, table)
            for row in pq.read_table(output / name).to_pylist()
        ]
        rows_of[table] = sorted(rows, key=lambda row: (row["utterance_id"], row.get("frame", 0), row.get("start_s", 0)))
    return rows_of


def only(rows_of: dict[str, list[dict]], ids: tuple[str, ...]) -> dict[str, list[dict]]:
    """Returns the rows of some utterances."""
    return {table: [row for row in rows if row["utterance_id"] in ids] for table, rows in rows_of.items()}


def assert_alike(found: dict[str, list[dict]], expected: dict[str, list[dict]]) -> None:
    """Asserts that two results of `tables` are equal, but for the last digits of numbers.

    The other recordings in a batch change the last digits of a score, so that rounded numbers may differ.
    """
    assert found.keys() == expected.keys()
    for table, rows in expected.items():
        assert len(found[table]) == len(rows), table
        for one, other in zip(found[table], rows, strict=True):
            close = {
                name: pytest.approx(value, abs=1e-3) if isinstance(value, float) else value
                for name, value in other.items()
            }
            assert one == close, table


def retry_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the client retry transient failures for two seconds instead of two minutes."""
    short = gcsio_retry.DEFAULT_RETRY_WITH_THROTTLING_COUNTER.with_timeout(2.0)
    monkeypatch.setattr(gcsio_retry, "DEFAULT_RETRY_WITH_THROTTLING_COUNTER", short)


def upload_few(bucket: Bucket, samples: Path, prefix: str = "in") -> str:
    """Uploads some of the sample recordings; returns the URI of their folder."""
    for name in FEW:
        bucket.upload(samples / name, f"{prefix}/{name}")
    return bucket / prefix
