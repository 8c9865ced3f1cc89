"""Fixtures: clusters of real processes on this machine, and a corpus large enough to interrupt a run over it.

These tests run only on request: `make test-cluster`, or `pytest tests/cluster`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow.flink.cluster import EXIT_UNAVAILABLE
from tests.support.deployment.cluster import Cluster, done, score, start, stop
from tests.support.paths import ROOT

CLUSTER = ROOT / "dataflow" / "flink" / "cluster.py"
# Copies of the nine samples. Each of two workers gets half of the 53 minutes, and writes scores to a file long before its end.
COPIES = 100


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Ignores these tests unless the command line names them."""
    requested = "cluster" in config.getoption("markexpr") or any("tests/cluster" in word for word in config.args)
    return None if requested else True


@pytest.fixture(scope="session")
def command() -> list[str]:
    """Returns the command that starts a cluster; skips the test if its programs cannot be fetched."""
    command = [sys.executable, str(CLUSTER)]
    fetched = subprocess.run([*command, "fetch"], capture_output=True, text=True, check=False)
    if fetched.returncode == EXIT_UNAVAILABLE:
        pytest.skip(fetched.stderr.splitlines()[-1])
    assert fetched.returncode == 0, fetched.stderr
    return command


@pytest.fixture(scope="session")
def flink(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Flink with a JobManager, two TaskManagers, Beam's job server and a pool of Python workers."""
    cluster, process = start([*command, "flink", "--rest_port", "0"], tmp_path_factory.mktemp("flink"))
    yield cluster
    stop(process)


@pytest.fixture(scope="session")
def prism(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Prism and a pool of Python workers."""
    cluster, process = start([*command, "prism"], tmp_path_factory.mktemp("prism"))
    yield cluster
    stop(process)


@pytest.fixture(scope="session")
def many(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of many copies of the samples."""
    root = tmp_path_factory.mktemp("many")
    for copy in range(COPIES):
        shutil.copytree(samples, root / f"{copy:03d}")
    return root


@pytest.fixture(scope="session")
def local_output(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scores of that corpus by a local run."""
    output = tmp_path_factory.mktemp("local") / "out"
    done(score(many, output))
    return output
