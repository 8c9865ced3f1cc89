"""Runs whose corpus, output or model is in a bucket, over HTTP, against an emulator in a process of its own."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import pytest

from model.bundle import BUNDLED, DEFAULT
from tests.support.command import Output, audiosieve, audiosieve_process
from tests.support.committed_rows import assert_alike
from tests.support.storage.bucket_runs import FEW, only, tables, upload_few
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import Proxy


def test_a_directory_in_a_bucket_is_scored_like_a_local_one(scored: Bucket, sample_run: Output, tmp_path: Path) -> None:
    found = scored.download("out", tmp_path)
    assert_alike(tables(found), tables(sample_run.root))
    assert {row["uri"] for row in Output(found).utterances} < {scored / name for name in scored.names("in")}
    assert not [name for name in scored.names("out") if "beam-temp" in name or name.endswith(".draft")]


def test_a_glob_a_manifest_and_a_tar_are_scored_like_local_ones(
    bucket: Bucket, samples: Path, sample_run: Output, tmp_path: Path
) -> None:
    upload_few(bucket, samples)
    expected = only(tables(sample_run.root), ("clean.flac", "noise_20db.flac"))
    bucket.write("in/list.csv", "id,path,speaker\nclean.flac,clean.flac,ann\nnoise_20db.flac,noise_20db.flac,bob\n")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in FEW:
            tar.add(samples / name, name)
    bucket.write("tar/few.tar", archive.getvalue())
    for number, source in enumerate(("in/[cn]*.flac", "in/list.csv", "tar/few.tar")):
        audiosieve("score", "--input", bucket / source, "--output", bucket / f"out{number}")
        found = tables(bucket.download(f"out{number}", tmp_path / str(number)))
        for rows in found.values():
            for row in rows:
                row["utterance_id"] = row["utterance_id"].removeprefix("few.tar/")
        assert_alike(only(found, ("clean.flac", "noise_20db.flac")), expected)


def test_a_small_recording_takes_two_requests(bucket: Bucket, proxy: Proxy, samples: Path) -> None:
    for i in range(12):
        bucket.upload(samples / "clean.flac", f"in/{i:02d}.flac")
    audiosieve("score", "--input", bucket / "in", "--output", bucket / "out")
    of_each: dict[str, Counter[str]] = {}
    for call in proxy.calls:
        if call.name.startswith("in/") and call.name.endswith(".flac"):
            of_each.setdefault(call.name, Counter())[call.kind] += 1
    assert len(of_each) == 12
    # Some are opened once more before, to learn how long an hour of such files is.
    assert all(counts["stat"] == counts["read"] <= 2 and counts.total() <= 4 for counts in of_each.values()), of_each
    assert proxy.connections < 20


def test_a_killed_run_continues(bucket: Bucket, samples: Path, sample_run: Output, tmp_path: Path) -> None:
    bucket.upload(samples, "in")
    words = ["score", "--input", bucket / "in", "--output", bucket / "out", "--wave_hours", "0.001"]
    command = [sys.executable, "-m", "pipelines.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while sum(name.endswith(".json") for name in bucket.names("out/_runs")) < 3 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    done = audiosieve(*words)
    skipped = int(re.search(r"(\d+) skipped", done.stdout)[1])  # type: ignore[index]
    assert 3 <= skipped < 9
    assert_alike(tables(bucket.download("out", tmp_path)), tables(sample_run.root))
    kept = {name for record in bucket.names("out/_runs") for name in json.loads(bucket.read(record))["files"]}
    assert {name.removeprefix("out/") for name in bucket.names("out/") if "_runs" not in name} == kept


def test_a_second_run_scores_new_and_changed_recordings(
    bucket: Bucket, samples: Path, sample_run: Output, tmp_path: Path
) -> None:
    upload_few(bucket, samples)
    words = ["score", "--input", bucket / "in", "--output", bucket / "out"]
    audiosieve(*words)
    assert "0 scored, 0 rejected, 3 skipped" in audiosieve(*words).stdout
    bucket.upload(samples / "burst.flac", "in/new.flac")
    bucket.upload(samples / "clipped.flac", "in/clean.flac")  # other than it was
    bucket.delete("in/noise_20db.flac")
    done = audiosieve(*words)
    assert "2 scored, 0 rejected, 1 skipped" in done.stdout
    assert "kept 1 row of recordings" in done.stderr
    scores, expected = Output(bucket.download("out", tmp_path / "a")).scores, sample_run.scores
    assert scores == pytest.approx(
        {
            "new.flac": expected["burst.flac"],
            "clean.flac": expected["clipped.flac"],
            "noise_20db.flac": expected["noise_20db.flac"],
        },
        abs=1e-3,
    )
    done = audiosieve(*words, "--prune")
    assert "removed 1 row of recordings that are no longer in" in done.stderr
    assert "0 scored, 0 rejected, 3 skipped" in done.stdout
    assert Output(bucket.download("out", tmp_path / "c")).scores.keys() == {"new.flac", "clean.flac"}
    assert "2 scored, 1 rejected (1 corrupt), 0 skipped" in audiosieve(*words, "--overwrite").stdout
    assert Output(bucket.download("out", tmp_path / "b")).scores.keys() == {"new.flac", "clean.flac"}


def test_an_edit_of_metadata_changes_no_recording(bucket: Bucket, samples: Path) -> None:
    words = ["--input", upload_few(bucket, samples), "--output", bucket / "out"]
    audiosieve("score", *words)
    for name in FEW:
        bucket.edit_metadata(f"in/{name}")
    assert "0 scored, 0 rejected, 3 skipped" in audiosieve("score", *words).stdout
    options = ["--output", bucket / "keep", "--where", "true", "--export", bucket / "audio"]
    assert "2 exported" in audiosieve("filter", bucket / "out", *options).stdout


def test_two_processes_give_the_same(bucket: Bucket, samples: Path, sample_run: Output, tmp_path: Path) -> None:
    bucket.upload(samples, "in")
    model = bucket.upload(BUNDLED / DEFAULT, "models/mine")
    words = ["score", "--input", bucket / "in", "--output", bucket / "out", "--model", model]
    audiosieve_process(*words, "--direct_num_workers=2", "--wave_hours=0.004")
    assert_alike(tables(bucket.download("out", tmp_path)), tables(sample_run.root))


def test_a_bundle_in_a_bucket_scores_like_a_local_one(
    bucket: Bucket, samples: Path, sample_run: Output, tmp_path: Path
) -> None:
    upload_few(bucket, samples)
    model = bucket.upload(BUNDLED / DEFAULT, "models/mine")
    words = ["score", "--input", bucket / "in", "--output", bucket / "out"]
    audiosieve(*words, "--model", f"{model}/")
    assert_alike(tables(bucket.download("out", tmp_path)), only(tables(sample_run.root), FEW))
    # It is what the other is.
    assert "3 skipped" in audiosieve(*words).stdout
    bucket.write("models/broken/bundle.json", bucket.read("models/mine/bundle.json"))
    done = audiosieve(*words, "--model", bucket / "models/broken", status=2)
    assert f"{bucket.uri}/models/broken/model.weights.h5: there is no such object" in done.stderr
    assert "there is no such object" in audiosieve("serve", "--model", bucket / "models/broken", status=2).stderr
    audiosieve("export", "--model", model, "--output", tmp_path / "exported")
    assert (tmp_path / "exported/assets.extra/bundle.json").read_bytes() == bucket.read("models/mine/bundle.json")
    bucket.write("models/broken/model.weights.h5", "garbage")
    done = audiosieve(*words, "--model", bucket / "models/broken", status=2)
    assert f"model {bucket.uri}/models/broken: model.weights.h5 does not match the SHA-256" in done.stderr
