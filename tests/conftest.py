"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Output, audiosieve_process
from tests.support.paths import SAMPLES
from tests.support.storage.gcs_emulator import Bucket, running_emulator
from tests.support.storage.gcs_proxy import Proxy
from transforms.storage.gcs import EMULATOR, patch_beam


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


@pytest.fixture(scope="session")
def sample_run(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Output:
    """The sample recordings, scored once by the bundled model in one process."""
    root = tmp_path_factory.mktemp("samples") / "out"
    audiosieve_process("score", "--input", samples, "--output", root)
    return Output(root)


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The address of a Cloud Storage on this machine. Nothing uses it until `STORAGE_EMULATOR_HOST` names it."""
    patch_beam()
    with running_emulator() as address:
        yield address


@pytest.fixture
def bucket(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket in it, which gs:// leads to in this process and in all that it starts."""
    monkeypatch.setenv(EMULATOR, emulator)
    return Bucket(emulator)


@pytest.fixture
def proxy(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What gs:// leads to by way of a proxy that counts and lets fail; `bucket` itself is reached without it."""
    with Proxy(bucket.address).serving() as proxy:
        monkeypatch.setenv(EMULATOR, proxy.address)
        yield proxy
