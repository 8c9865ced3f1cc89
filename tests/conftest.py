"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent / "samples" / "audio"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The sample recordings of the repository."""
    return SAMPLES


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The speech corpus that AUDIOSIEVE_CORPUS names; without it the test is skipped."""
    place = os.environ.get("AUDIOSIEVE_CORPUS")
    if not place:
        pytest.skip("AUDIOSIEVE_CORPUS is not set")
    return Path(place)
