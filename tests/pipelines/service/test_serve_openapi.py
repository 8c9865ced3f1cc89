"""Schemathesis checks the service against its OpenAPI description."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.service.openapi_examples import PROBLEMS, RESPONSES
from tests.support.web.service import Server, serving

pytestmark = pytest.mark.slow
KEY = "a-key-of-some-length"
# Arbitrary bytes match the schema of a body, but are no recording.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 415, 422]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(environment={"AUDIOSIEVE_API_KEYS": KEY}) as started:
        yield started


def test_schemathesis_finds_no_violation(server: Server, tmp_path: Path):
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    words = [
        "--config-file",
        tmp_path / "schemathesis.toml",
        "run",
        f"{server.url}/openapi.json",
        "--header",
        f"Authorization: Bearer {KEY}",
        "--checks",
        "all",
        "--max-examples",
        40,
        "--seed",
        8,
        "--continue-on-failure",
        "--generation-database",
        "none",
        "--request-timeout",
        120,
        "--no-color",
        "--suppress-health-check",
        "all",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *map(str, words)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 selected / 5 total" in done.stdout
    assert "Traceback" not in server.stderr


def test_every_operation_has_examples(server: Server):
    described = server.client.get("/openapi.json").json()
    scoring = described["paths"]["/v1/score"]["post"]
    assert set(scoring["requestBody"]["content"]) == {"application/octet-stream", "multipart/form-data"}
    assert scoring["responses"]["200"]["content"]["application/json"]["examples"] == RESPONSES
    for status in ("400", "401", "408", "413", "415", "422", "500", "503"):
        content = scoring["responses"][status]["content"]
        assert list(content) == ["application/problem+json"]
        example = {name: value for name, value in PROBLEMS[int(status)].items() if value is not None}
        assert content["application/problem+json"]["example"] == example
    assert {parameter["name"] for parameter in scoring["parameters"]} == {
        "frames",
        "anomalies",
        "spectrogram",
        "channels",
        "utterance_id",
    }
    assert scoring["security"] == [{"HTTPBearer": []}]
