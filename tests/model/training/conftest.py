"""The training set that the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.labels import PESQ_WB
from model.training.dataset import TrainingSet, open_set
from tests.support.training.training_set import CLIPS, CONFIG, UNLABELLED, write_set


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The clips and one without a label, in two files of several row groups."""
    root = tmp_path_factory.mktemp("set")
    return write_set(root / "a.parquet", CLIPS[:7]), write_set(root / "b.parquet", [*CLIPS[7:], UNLABELLED])


@pytest.fixture(scope="session")
def data(files: tuple[Path, ...]) -> TrainingSet:
    return open_set(files, PESQ_WB, CONFIG)
