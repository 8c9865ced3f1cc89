"""Runs of the command line on a bucket, and their committed rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from apache_beam.io.gcp import gcsio_retry

from tests.support.committed_rows import committed_rows
from tests.support.storage.gcs_emulator import Bucket

FEW = ("clean.flac", "corrupt.flac", "noise_20db.flac")
# Columns that differ between two places of the same recording.
_PLACE_COLUMNS = ("uri", "source_version", "size_bytes", "detail")


def tables(output: Path) -> dict[str, list[dict]]:
    """Returns all committed rows, sorted, without the columns that depend on the place."""
    return {
        table: [{name: value for name, value in row.items() if name not in _PLACE_COLUMNS} for row in rows]
        for table, rows in committed_rows(output).items()
    }


def only(rows_of: dict[str, list[dict]], ids: tuple[str, ...]) -> dict[str, list[dict]]:
    """Returns the rows of some utterances."""
    return {table: [row for row in rows if row["utterance_id"] in ids] for table, rows in rows_of.items()}


def retry_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the client retry transient failures for two seconds instead of two minutes."""
    short = gcsio_retry.DEFAULT_RETRY_WITH_THROTTLING_COUNTER.with_timeout(2.0)
    monkeypatch.setattr(gcsio_retry, "DEFAULT_RETRY_WITH_THROTTLING_COUNTER", short)


def upload_few(bucket: Bucket, samples: Path, prefix: str = "in") -> str:
    """Uploads some of the sample recordings; returns the URI of their folder."""
    for name in FEW:
        bucket.upload(samples / name, f"{prefix}/{name}")
    return bucket / prefix
