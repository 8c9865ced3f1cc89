"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.command import Output, audiosieve_process
from tests.support.paths import SAMPLES
from tests.support.storage.gcs_emulator import Bucket, running_emulator
from tests.support.storage.gcs_proxy import Proxy
from tests.support.storage.s3_server import REGION, S3Bucket, running_s3
from transforms.storage.gcs.client import EMULATOR, patch_beam

# With one thread for each operation, equal trainings are equal to the last bit, on a busy machine, too.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# No test is timed: on a busy machine any example may be slow.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 on this machine."""
    patch_beam()
    with running_s3() as address:
        yield address


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> S3Bucket:
    """An empty bucket in it, which s3:// leads to in this process and in all that it starts."""
    settings = {"AWS_ENDPOINT_URL": s3_server, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    for name, value in {**settings, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    return S3Bucket(s3_server)


@pytest.fixture
def proxy(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What gs:// leads to by way of a proxy that counts and lets fail; `bucket` itself is reached without it."""
    with Proxy(bucket.address).serving() as proxy:
        monkeypatch.setenv(EMULATOR, proxy.address)
        yield proxy
