"""Failures of Cloud Storage: retries, rejects, and errors in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.command import Output, audiosieve
from tests.support.committed_rows import assert_alike
from tests.support.storage.bucket_runs import FEW, only, retry_briefly, tables, upload_few
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import CUT, RESET, Call, Fault, Inside, Proxy, classify, first


@pytest.mark.parametrize("fault", [429, 503, RESET, CUT])
def test_transient_failures_lose_no_recording(
    bucket: Bucket, proxy: Proxy, samples: Path, sample_run: Output, tmp_path: Path, fault: Fault
) -> None:
    again = first(1, fault)
    # Unlike the real storage, the emulator forgets an upload whose last answer was lost.
    proxy.fail = lambda call: None if fault == CUT and call.kind == "part" else again(call)
    upload_few(bucket, samples)
    done = audiosieve("score", "--input", bucket / "in", "--output", bucket / "out")
    assert "2 scored, 1 rejected (1 corrupt)" in done.stdout
    assert_alike(tables(bucket.download("out", tmp_path)), only(tables(sample_run.root), FEW))
    assert proxy.counts.keys() >= {"list", "stat", "read", "start", "part", "batch"}


def test_forbidden_and_missing_recordings_are_rejected(
    bucket: Bucket, proxy: Proxy, samples: Path, tmp_path: Path
) -> None:
    upload_few(bucket, samples)
    bucket.upload(samples / "burst.flac", "in/secret.flac")
    bucket.upload(samples / "burst.flac", "in/gone.flac")
    faults = {"in/secret.flac": 403, "in/gone.flac": 404}
    proxy.fail = lambda call: faults.get(call.name) if call.kind in ("stat", "read") else None
    audiosieve("score", "--input", bucket / "in", "--output", bucket / "out")
    found = Output(bucket.download("out", tmp_path))
    assert len(found.utterances) == 2
    rejects = {row["utterance_id"]: row for row in found.rejects}
    assert {name: (row["stage"], row["reason"]) for name, row in rejects.items()} == {
        "corrupt.flac": ("decode", "corrupt"),
        "secret.flac": ("read", "unreadable"),
        "gone.flac": ("read", "unreadable"),
    }
    assert rejects["secret.flac"]["detail"] == f"{bucket}/in/secret.flac: permission is denied (as the test asked)"
    assert rejects["gone.flac"]["detail"] == f"{bucket}/in/gone.flac: there is no such object"
    # The next run reads them again.
    proxy.fail = lambda _: None
    again = audiosieve("score", "--input", bucket / "in", "--output", bucket / "out")
    assert "2 scored, 0 rejected, 3 skipped" in again.stdout


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["read", "part"])
def test_a_storage_that_does_not_answer_ends_the_run_without_rejects(
    bucket: Bucket, proxy: Proxy, samples: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    retry_briefly(monkeypatch)
    upload_few(bucket, samples)
    proxy.fail = lambda call: 503 if call.kind == kind and ("clean" in call.name or "utterances" in call.name) else None
    done = audiosieve("score", "--input", bucket / "in", "--output", bucket / "out", status=1)
    assert "the storage does not answer" in done.stderr
    assert "[while running" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not [name for name in bucket.names("out") if "_runs" in name]
    proxy.fail = lambda _: None
    assert "2 scored, 1 rejected" in audiosieve("score", "--input", bucket / "in", "--output", bucket / "out").stdout


def test_a_storage_that_stops_deleting_is_reported_in_one_line(
    bucket: Bucket, proxy: Proxy, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retry_briefly(monkeypatch)
    upload_few(bucket, samples)
    # The first batch deletes the trial file; the second comes after the record, and deletes the receipt.
    for works, fault, then in ((0, 503, "2 scored, 1 rejected"), (1, Inside(503), "3 skipped"), (1, 503, "3 skipped")):
        out = f"out-{works}-{type(fault).__name__}"
        words = ["score", "--input", bucket / "in", "--output", bucket / out]
        batches = Counter[str]()

        def fail(call: Call, works: int = works, fault: Fault = fault, batches: Counter[str] = batches) -> Fault:
            batches[call.kind] += 1
            return fault if call.kind == "batch" and batches["batch"] > works else None

        proxy.fail = fail
        done = audiosieve(*words, status=1)
        assert "the storage does not answer" in done.stderr
        assert "Traceback" not in done.stderr
        proxy.fail = lambda _: None
        assert then in audiosieve(*words).stdout
        assert not [name for name in bucket.names(out) if ".probe" in name or ".draft" in name]


def test_a_record_that_cannot_be_uploaded_commits_nothing(
    bucket: Bucket, proxy: Proxy, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retry_briefly(monkeypatch)
    words = ["score", "--input", upload_few(bucket, samples), "--output", bucket / "out"]
    proxy.fail = lambda call: 503 if call.kind == "write" and "_runs" in call.name else None
    assert "the storage does not answer" in audiosieve(*words, status=1).stderr
    assert not [name for name in bucket.names("out/_runs") if name.endswith(".json")]
    proxy.fail = lambda _: None
    assert "2 scored, 1 rejected" in audiosieve(*words).stdout


def test_missing_permission_to_delete_is_reported_before_the_work(bucket: Bucket, proxy: Proxy, samples: Path) -> None:
    proxy.fail = lambda call: Inside(403) if call.kind == "batch" else None
    done = audiosieve("score", "--input", samples, "--output", bucket / "out", status=2)
    assert f"{bucket}/out: cannot write there" in done.stderr
    assert "permission is denied (as the test asked)" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["score", "--input", "{}/in", "--output", "{out}"],
        ["score", "--input", "{}/in/*.wav", "--output", "{out}"],
        ["score", "--input", "{}/list.csv", "--output", "{out}"],
        ["score", "--input", "{samples}", "--output", "{}/out"],
        ["score", "--input", "{samples}", "--output", "{out}", "--model", "{}/model"],
        ["query", "{}/out"],
        ["report", "{}/out", "-o", "{out}"],
        ["compare", "{}/out", "{}/out"],
        ["filter", "{}/out", "--output", "{out}"],
        ["plot", "{}/in/a.wav", "--output", "{out}.png"],
    ],
    ids=lambda words: " ".join(words[:4]),
)
def test_a_missing_or_forbidden_bucket_is_reported_in_one_line(
    bucket: Bucket, proxy: Proxy, samples: Path, tmp_path: Path, words: list[str]
) -> None:
    for place, fault, message in (
        ("gs://no-such-bucket", None, "there is no (bucket|such object)"),
        (bucket.uri, 403, "permission is denied .as the test asked."),
    ):
        proxy.fail = lambda _, fault=fault: fault
        done = audiosieve(*(word.format(place, samples=samples, out=tmp_path / "out") for word in words), status=2)
        assert re.search(message, done.stderr)
        assert place in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
    # Two places, each of which is looked for as a folder, as a file and as a known layout. None is asked again and again.
    assert len(proxy.calls) < 40


def in_a_process(*words: object, code: str = "pass", **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Runs the command line after some code, with some variables of the environment set, or removed (None)."""
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    main = f"import sys; {code}; from pipelines.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", main, *map(str, words)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=100)


def test_missing_credentials_are_reported_with_a_remedy(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    proxy.fail = lambda _: 401
    environment = {
        "API_ENDPOINT_OVERRIDE": proxy.address,
        "HOME": str(tmp_path),
        "STORAGE_EMULATOR_HOST": None,
        "GOOGLE_APPLICATION_CREDENTIALS": None,
        "NO_GCE_CHECK": "true",
    }
    done = in_a_process("query", bucket / "out", **environment)
    assert done.returncode == 2
    assert "no credentials were found: log in with `gcloud auth application-default login`" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["score", "--input", "gs://b/in", "--output", "out"],
        ["score", "--input", "{samples}", "--output", "gs://b/out"],
        ["query", "gs://b/out"],
        ["score", "--input", "{samples}", "--output", "out", "--model", "gs://b/model"],
    ],
    ids=["input", "output", "query", "model"],
)
def test_a_missing_extra_is_reported_with_a_remedy(samples: Path, words: list[str]) -> None:
    code = "sys.modules['google.cloud.storage'] = sys.modules['google.cloud'] = None"
    done = in_a_process(*(word.format(samples=samples) for word in words), code=code)
    assert done.returncode == 2
    assert 'the extra gcp is not installed: pip install "audiosieve[gcp]"' in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_the_proxy_classifies_requests() -> None:
    """The proxy must classify requests correctly, or faults for one kind would reach no request."""
    for line, call in {
        "GET /storage/v1/b/x/o?prefix=in%2F&projection=noAcl": Call("list", "in/"),
        "GET /storage/v1/b/x/o/in%2Fa.wav?projection=noAcl": Call("stat", "in/a.wav"),
        "GET /download/storage/v1/b/x/o/in/a.wav?alt=media": Call("read", "in/a.wav"),
        "POST /upload/storage/v1/b/x/o?uploadType=resumable": Call("start", ""),
        "POST /batch/storage/v1": Call("batch", ""),
    }.items():
        assert classify(line) == call
