"""Runs whose corpus or model is on the web or on Hugging Face, with servers on this machine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import audiosieve as api
from model.bundle import BUNDLED, CARD, DEFAULT, WEIGHTS
from tests.support.command import Output, audiosieve, audiosieve_process
from tests.support.committed_rows import assert_alike
from tests.support.storage.bucket_runs import FEW, only, tables
from tests.support.web.file_server import FileServer
from tests.support.web.hugging_face_hub import DATASET, HuggingFaceHub

pytestmark = pytest.mark.slow


@pytest.fixture
def server(samples: Path) -> Iterator[FileServer]:
    with FileServer().serving() as server:
        server.files = {f"in/{name}": (samples / name).read_bytes() for name in FEW}
        yield server


def test_a_folder_on_the_web_is_scored_like_a_local_one_and_continues(server, samples, sample_run, tmp_path):
    for name in (CARD, WEIGHTS):
        server.files[f"models/mine/{name}"] = (BUNDLED / DEFAULT / name).read_bytes()
    words = ["score", "--input", f"{server.url}in/", "--output", tmp_path / "out"]
    words += ["--model", f"{server.url}models/mine"]
    assert "2 scored, 1 rejected (1 corrupt)" in audiosieve(*words).stdout
    assert_alike(tables(tmp_path / "out"), only(tables(sample_run.root), FEW))
    assert "0 scored, 0 rejected, 3 skipped" in audiosieve(*words).stdout
    server.files["in/clean.flac"] = (samples / "burst.flac").read_bytes()
    assert "1 scored, 0 rejected, 2 skipped" in audiosieve(*words).stdout


def test_a_manifest_costs_nothing_else_if_a_file_is_missing(server, sample_run, tmp_path):
    rows = ["clean.flac", f"{server.url}in/noise_20db.flac", "missing.flac", "http://127.0.0.1:1/dead.flac"]
    server.files["in/list.txt"] = "\n".join(rows).encode()
    words = ["score", "--input", f"{server.url}in/list.txt", "--output", tmp_path / "out"]
    assert "2 scored, 2 rejected (2 unreadable)" in audiosieve(*words).stdout
    found = Output(tmp_path / "out")
    assert sorted(found.scores.values()) == pytest.approx(
        sorted(sample_run.scores[name] for name in ("clean.flac", "noise_20db.flac")), abs=1e-3
    )
    assert {row["uri"].rpartition("/")[2] for row in found.rejects} == {"missing.flac", "dead.flac"}
    # Such rejects do not last.
    server.files["in/missing.flac"] = server.files["in/clean.flac"]
    assert "1 scored, 1 rejected (1 unreadable), 2 skipped" in audiosieve(*words).stdout


def test_a_tar_on_the_web(server, samples, sample_run, tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in FEW:
            archive.add(samples / name, name)
    server.files["few.tar"] = content.getvalue()
    audiosieve("score", "--input", f"{server.url}few.tar", "--output", tmp_path / "out")
    assert Output(tmp_path / "out").scores == pytest.approx(
        {f"few.tar/{name}": sample_run.scores[name] for name in FEW if name in sample_run.scores}, abs=1e-3
    )


def test_the_python_api_reads_the_web(server, sample_run):
    assert api.score(f"{server.url}in/clean.flac").score == pytest.approx(sample_run.scores["clean.flac"], abs=1e-3)


def test_a_dataset_on_hugging_face(samples, sample_run, tmp_path, monkeypatch):
    with HuggingFaceHub().serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.files = {"README.md": b"x", **{f"data/few/{name}": (samples / name).read_bytes() for name in FEW}}
        words = ["score", "--input", f"hf://datasets/{DATASET}/data", "--output", tmp_path / "out"]
        assert "2 scored, 1 rejected (1 corrupt), 0 skipped" in audiosieve_process(*words).stdout
        found = Output(tmp_path / "out")
        assert {row["uri"] for row in found.utterances} == {
            f"hf://datasets/{DATASET}/data/few/{name}" for name in FEW if name != "corrupt.flac"
        }
        assert found.scores == pytest.approx(
            {f"few/{name}": sample_run.scores[name] for name in FEW if name in sample_run.scores}, abs=1e-3
        )
        assert "0 scored, 0 rejected, 3 skipped" in audiosieve_process(*words).stdout
        hub.files["data/few/clean.flac"] = (samples / "burst.flac").read_bytes()
        assert "1 scored, 0 rejected, 2 skipped" in audiosieve_process(*words).stdout
        assert not [request for request in hub.requests if request.startswith(("PUT", "DELETE"))]
