"""Clusters of real processes on this machine, and corpora large enough that a run has a middle.

Not collected unless asked for: `make test-cluster`, or `pytest tests/cluster`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, done, score, start, stop
from tests.support.paths import ROOT

CLUSTER = ROOT / "dataflow" / "flink" / "cluster.py"
CANNOT_BE_HAD = 3
# Copies of the nine samples: 53 minutes, of which a worker has half, and the first scores in a file long before its end.
COPIES = 100


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Keeps these tests out of a run that does not ask for them by name."""
    asked = "cluster" in config.getoption("markexpr") or any("tests/cluster" in word for word in config.args)
    return None if asked else True


@pytest.fixture(scope="session")
def command() -> list[str]:
    """Starts a cluster; its parts are there. Where they cannot be had the test is skipped."""
    command = [sys.executable, str(CLUSTER)]
    fetched = subprocess.run([*command, "fetch"], capture_output=True, text=True, check=False)
    if fetched.returncode == CANNOT_BE_HAD:
        pytest.skip(fetched.stderr.splitlines()[-1])
    assert fetched.returncode == 0, fetched.stderr
    return command


@pytest.fixture(scope="session")
def flink(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One JobManager and two TaskManagers, with Beam's job server and a pool of Python workers."""
    cluster, process = start([*command, "flink", "--rest_port", "0"], tmp_path_factory.mktemp("flink"))
    yield cluster
    stop(process)


@pytest.fixture(scope="session")
def prism(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Prism, with a pool of Python workers."""
    cluster, process = start([*command, "prism"], tmp_path_factory.mktemp("prism"))
    yield cluster
    stop(process)


@pytest.fixture(scope="session")
def many(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of the samples, many times over."""
    root = tmp_path_factory.mktemp("many")
    for copy in range(COPIES):
        shutil.copytree(samples, root / f"{copy:03d}")
    return root


@pytest.fixture(scope="session")
def at_home(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its scores by a local run."""
    output = tmp_path_factory.mktemp("home") / "out"
    done(score(many, output))
    return output
