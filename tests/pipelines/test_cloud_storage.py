"""The real command line on Cloud Storage, over HTTP, against an emulator in a process of its own."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from tests.emulator import Bucket
from tests.pipelines.conftest import Output, audiosieve
from tests.proxy import Proxy
from transforms.schemas import SCORE_TABLES

# What differs between two runs of the same, and between two places of the same recording.
OF_THE_PLACE = ("uri", "source_version", "size_bytes", "detail")


def tables(output: Output) -> dict[str, list[dict]]:
    """All rows, sorted, without what is of the place; scores as they are told."""
    found = {}
    for table in SCORE_TABLES:
        rows = [
            {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in row.items()
                if name not in OF_THE_PLACE
            }
            for row in getattr(output, table)
        ]
        found[table] = sorted(rows, key=lambda row: (row["utterance_id"], row.get("frame", 0), row.get("start_s", 0)))
    return found


def downloaded(bucket: Bucket, prefix: str, folder: Path) -> Output:
    return Output(bucket.download(prefix, folder))


def test_a_directory_is_scored_as_it_is_here(
    bucket: Bucket, proxy: Proxy, samples: Path, sample_run: Output, tmp_path: Path
) -> None:
    bucket.upload(samples, "in")
    done = audiosieve("score", "--input", bucket / "in", "--output", bucket / "out")
    assert "8 scored, 1 rejected (1 corrupt), 0 skipped" in done.stdout
    print(proxy.counts, proxy.connections)
    assert tables(downloaded(bucket, "out", tmp_path)) == tables(sample_run)
