"""A small corpus for tests of `audiosieve filter`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.trimmed import write_recordings


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Recordings of 9 s: `timed` has word times, `bad` unusable ones, `plain` none."""
    return write_recordings(tmp_path / "audio")
