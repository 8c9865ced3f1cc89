"""Runs and commands whose corpus, output or model is on S3, over HTTP, against moto's server."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.bundle import BUNDLED, DEFAULT
from tests.support.command import Output, audiosieve, audiosieve_process
from tests.support.committed_rows import assert_alike
from tests.support.storage.bucket_runs import FEW, only, tables
from tests.support.storage.s3_server import S3Bucket

pytestmark = pytest.mark.slow


def upload_few(bucket: S3Bucket, samples: Path) -> str:
    """Uploads some of the sample recordings; returns the URI of their folder."""
    for name in FEW:
        bucket.write(f"in/{name}", (samples / name).read_bytes())
    return bucket / "in"


def test_a_run_on_s3_equals_a_local_one_and_continues(
    s3_bucket: S3Bucket, samples: Path, sample_run: Output, tmp_path: Path
) -> None:
    words = ["score", "--input", upload_few(s3_bucket, samples), "--output", s3_bucket / "out"]
    assert "2 scored, 1 rejected (1 corrupt), 0 skipped" in audiosieve(*words).stdout
    found = s3_bucket.download("out", tmp_path / "a")
    assert_alike(tables(found), only(tables(sample_run.root), FEW))
    assert {row["uri"] for row in Output(found).utterances} == {
        s3_bucket / f"in/{name}" for name in FEW if "corrupt" not in name
    }
    for name in FEW:
        s3_bucket.edit_metadata(f"in/{name}")
    assert "0 scored, 0 rejected, 3 skipped" in audiosieve(*words).stdout
    s3_bucket.write("in/new.flac", (samples / "burst.flac").read_bytes())
    s3_bucket.write("in/clean.flac", (samples / "clipped.flac").read_bytes())
    assert "2 scored, 0 rejected, 2 skipped" in audiosieve(*words).stdout
    scores = Output(s3_bucket.download("out", tmp_path / "b")).scores
    assert scores["new.flac"] == pytest.approx(sample_run.scores["burst.flac"], abs=1e-3)
    assert scores["clean.flac"] == pytest.approx(sample_run.scores["clipped.flac"], abs=1e-3)
    assert "2 scored, 1 rejected" not in audiosieve(*words, "--overwrite").stdout
    assert len(s3_bucket.names("out/utterances")) == 1, "older files are deleted"
    assert not s3_bucket.unfinished_uploads()


def test_processes_a_manifest_and_a_model_on_s3(
    s3_bucket: S3Bucket, samples: Path, sample_run: Output, tmp_path: Path
) -> None:
    upload_few(s3_bucket, samples)
    s3_bucket.write("in/list.csv", "id,path,speaker\nclean.flac,clean.flac,ann\nnoise_20db.flac,noise_20db.flac,bob\n")
    model = s3_bucket.upload(BUNDLED / DEFAULT, "models/mine")
    words = ["--input", s3_bucket / "in/list.csv", "--output", s3_bucket / "out", "--carry", "speaker"]
    audiosieve_process("score", *words, "--model", model, "--direct_num_workers=2", "--wave_hours=0.001")
    found = Output(s3_bucket.download("out", tmp_path))
    assert {row["utterance_id"]: row["speaker"] for row in found.utterances} == {
        "clean.flac": "ann",
        "noise_20db.flac": "bob",
    }
    assert found.scores == pytest.approx({name: sample_run.scores[name] for name in found.scores}, abs=1e-3)


def test_commands_read_and_write_s3(s3_bucket: S3Bucket, samples: Path, tmp_path: Path) -> None:
    out = s3_bucket / "out"
    audiosieve("score", "--input", upload_few(s3_bucket, samples), "--output", out)
    sql = "SELECT utterance_id FROM utterances ORDER BY ALL"
    audiosieve("query", out, sql, "--format", "csv", "--output", s3_bucket / "answers/a.csv")
    assert s3_bucket.read("answers/a.csv").decode().split() == ["utterance_id", "clean.flac", "noise_20db.flac"]
    assert "0 without sound" in audiosieve("report", out, "-o", s3_bucket / "page.html").stdout
    assert b"noise_20db.flac" in s3_bucket.read("page.html")
    audiosieve("plot", "clean.flac", "--run", out, "--output", s3_bucket / "b.png")
    assert s3_bucket.read("b.png").startswith(b"\x89PNG")
    options = ["--output", s3_bucket / "keep", "--where", "score > 3", "--export", s3_bucket / "audio"]
    assert "1 exported" in audiosieve("filter", out, *options).stdout
    kept = pq.read_table(s3_bucket.download("keep", tmp_path) / "kept.parquet")
    assert kept["utterance_id"].to_pylist() == ["clean.flac"]
    assert s3_bucket.read("audio/clean.flac") == (samples / "clean.flac").read_bytes()
    audiosieve("compact", out)
    assert "2" in audiosieve("query", out, "SELECT count(*) FROM utterances").stdout
    assert not s3_bucket.unfinished_uploads()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "s3://no-such-bucket-here/out"], "there is no bucket s3://no-such-bucket-here"),
        (["--output", "https://example.com/out"], "https:// can only be read; write to a local folder, gs:// or s3://"),
        (["--output", "hf://datasets/a/b/out"], "hf:// can only be read"),
        (["--output", "foo://a/out"], "no filesystem is known for foo://"),
        (["--output", "x", "--model", "s3://no-such-bucket-here/m"], "there is no bucket s3://no-such-bucket-here"),
    ],
)
@pytest.mark.usefixtures("s3_bucket")
def test_places_that_cannot_be_used_are_refused_at_the_start(samples, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    assert said in audiosieve("score", "--input", samples, *options, status=2).stderr


def test_a_missing_corpus_on_s3_is_one_sentence(s3_bucket, tmp_path):
    for source in (s3_bucket / "nothing", "s3://no-such-bucket-here/in", s3_bucket / "list.csv"):
        done = audiosieve("score", "--input", source, "--output", tmp_path / "out", status=2)
        assert source in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
