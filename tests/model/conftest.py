"""Bundles with random weights, shared by the tests of `model/`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model.bundle import WEIGHTS
from tests.support.training.random_bundles import complete_bundle, random_network


@pytest.fixture(scope="session")
def random_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of each network with random weights. Shared by all tests: read only."""
    from model.networks.architectures import NETWORKS

    root = tmp_path_factory.mktemp("bundles")
    for name in NETWORKS:
        (root / name).mkdir()
        random_network(name).save_weights(root / name / WEIGHTS)
        complete_bundle(root / name, network=name)
    return {name: root / name for name in NETWORKS}


@pytest.fixture
def bundle_copy(random_bundles: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copies the quality_net bundle to a folder of the test's own, under the name it gives."""

    def copy(name: str = "bundle") -> Path:
        return Path(shutil.copytree(random_bundles["quality_net"], tmp_path / name))

    return copy
