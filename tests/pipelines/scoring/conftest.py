"""Fixtures for runs on Cloud Storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import audiosieve
from tests.support.storage.gcs_emulator import Bucket
from transforms.storage.gcs.client import EMULATOR


@pytest.fixture(scope="module")
def scored(emulator: str, samples: Path) -> Iterator[Bucket]:
    """A bucket with the samples in `in`, and their scores in `out`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(EMULATOR, emulator)
        bucket = Bucket(emulator)
        bucket.upload(samples, "in")
        done = audiosieve("score", "--input", bucket / "in", "--output", bucket / "out")
        assert "8 scored, 1 rejected (1 corrupt), 0 skipped" in done.stdout
        yield bucket
