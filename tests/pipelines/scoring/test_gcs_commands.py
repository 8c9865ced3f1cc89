"""Commands that read an output in a bucket, or write their own files into one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.command import Output, audiosieve
from tests.support.storage.bucket_runs import retry_briefly, upload_few
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import Proxy


def test_query_report_compare_and_plot_read_a_bucket(scored: Bucket, sample_run: Output, tmp_path: Path) -> None:
    sql = (
        "SELECT utterance_id, round(score, 3) AS score FROM utterances JOIN anomalies USING (utterance_id) ORDER BY ALL"
    )
    words = ["--format", "csv"]
    here = audiosieve("query", sample_run.root, sql, *words).stdout
    assert audiosieve("query", scored / "out", sql, *words).stdout == here
    audiosieve("query", scored / "out", sql, *words, "--output", scored / "answers/a.csv")
    assert scored.read("answers/a.csv").decode() == here
    assert "9" in audiosieve("query", scored / "out").stdout
    assert "0 without sound" in audiosieve("report", scored / "out", "-o", scored / "page.html").stdout
    assert b"noise_00db.flac" in scored.read("page.html")
    same = audiosieve("compare", sample_run.root, scored / "out").stdout
    assert "8" in same
    audiosieve("plot", scored / "in/burst.flac", "--output", tmp_path / "a.png")
    audiosieve("plot", "burst.flac", "--run", scored / "out", "--output", scored / "b.png")
    assert scored.read("b.png").startswith(b"\x89PNG")


def test_filter_writes_its_decision_into_a_bucket(scored: Bucket, sample_run: Output, tmp_path: Path) -> None:
    local, keep = tmp_path / "local", scored / "keep"
    audiosieve("filter", sample_run.root, "--output", local, "--where", "score > 3", "--format", "csv")
    done = audiosieve("filter", scored / "out", "--output", keep, "--where", "score > 3", "--format", "csv")
    assert keep in done.stdout
    found = scored.download("keep", tmp_path / "found")
    assert sorted(path.name for path in found.iterdir()) == sorted(path.name for path in local.iterdir())
    for name in ("kept.parquet", "dropped.parquet"):
        ids = [pq.read_table(place / name)["utterance_id"].to_pylist() for place in (local, found)]
        assert ids[0] == ids[1] != []
    assert (scored / "in/clean.flac") in scored.read(
        f"keep/{json.loads(scored.read('keep/filter.json'))['manifest']}"
    ).decode()
    # Not unasked; and nothing of the first is left then.
    assert "is not empty" in audiosieve("filter", scored / "out", "--output", keep, status=2).stderr
    audiosieve("filter", scored / "out", "--output", keep, "--where", "score > 2", "--format", "none", "--overwrite")
    assert scored.names("keep/") == ["keep/dropped.parquet", "keep/filter.json", "keep/kept.parquet"]
    # One that was cut short may be done again; what is not ours may not be overwritten.
    scored.delete("keep/filter.json")
    audiosieve("filter", scored / "out", "--output", keep, "--where", "score > 2", "--overwrite")
    scored.write("other/thesis.txt", "keep me")
    words = ["filter", scored / "out", "--output", scored / "other", "--overwrite"]
    assert "did not write" in audiosieve(*words, status=2).stderr
    for place in ("out/keep", "in/keep"):
        assert "overlaps with" in audiosieve("filter", scored / "out", "--output", scored / place, status=2).stderr


def exported_from(output: object, keep: object, audio: object, *options: object) -> str:
    return audiosieve("filter", output, "--output", keep, "--where", "true", "--export", audio, *options).stdout


@pytest.mark.parametrize("options", [(), ("--export_format", "webdataset", "--shard_size", 5)], ids=["files", "shards"])
def test_audio_is_exported_to_a_bucket_as_to_a_local_folder(
    scored: Bucket, sample_run: Output, tmp_path: Path, options: tuple[object, ...]
) -> None:
    local, remote = tmp_path / "audio", scored / f"audio{len(options)}"
    words = ("--trim", "anomalies", *options)
    here = exported_from(sample_run.root, tmp_path / "keep", local, *words)
    there = exported_from(scored / "out", scored / f"kept{len(options)}", remote, *words, "--direct_num_workers=2")
    assert there.splitlines()[-1] == here.splitlines()[-1].replace(str(local), remote)
    assert re.search(r"\n[5-9] exported to gs://", there)
    found = scored.download(f"audio{len(options)}", tmp_path / "found")
    names = {path.relative_to(local) for path in local.rglob("*") if path.is_file()}
    assert names == {path.relative_to(found) for path in found.rglob("*") if path.is_file()}
    assert all((local / name).read_bytes() == (found / name).read_bytes() for name in names)
    listed = {"/manifest.jsonl"} if not options else set()
    assert {f"kept{len(options)}{name}" for name in {"/export.json", "/export_rejects.parquet", *listed}} < set(
        scored.names(f"kept{len(options)}/")
    )


def test_an_interrupted_export_to_a_bucket_continues(bucket: Bucket, proxy: Proxy, samples: Path) -> None:
    audiosieve("score", "--input", upload_few(bucket, samples), "--output", bucket / "out")
    words = (bucket / "out", bucket / "keep", bucket / "audio")
    assert "2 exported" in exported_from(*words)
    assert not [
        call
        for call in proxy.calls
        if call.kind == "stat" and call.name.startswith("audio/") and "probe" not in call.name
    ]
    bucket.delete("audio/clean.flac")
    proxy.calls.clear()
    assert "2 exported" in exported_from(*words)
    assert bucket.read("audio/clean.flac") == (samples / "clean.flac").read_bytes()
    written = {call.name for call in proxy.calls if call.kind in ("start", "part", "write")}
    assert not any("noise_20db" in name for name in written)
    # Another kind is another thing, and an older one gives way when that is asked for.
    options = ["--output", bucket / "keep", "--where", "true", "--export", bucket / "audio"]
    done = audiosieve("filter", bucket / "out", *options, "--export_format", "webdataset", status=2)
    assert "is not empty" in done.stderr
    assert "2 exported" in exported_from(*words, "--export_format", "webdataset", "--overwrite")
    assert bucket.names("audio/") == ["audio/shard-000000.tar"]
    # What was cut short while it gave way to another selection may be written again.
    bucket.delete("keep/filter.json")
    audiosieve("filter", bucket / "out", "--output", bucket / "keep", "--where", "true", "--overwrite")
    assert "keep/export.json" not in bucket.names("keep/")
    bucket.write("other/thesis.txt", "keep me")
    done = audiosieve(
        "filter", bucket / "out", "--output", bucket / "k2", "--export", bucket / "other", "--overwrite", status=2
    )
    assert "is not empty" in done.stderr


@pytest.mark.parametrize("options", [(), ("--export_format", "webdataset")], ids=["files", "shards"])
def test_a_failed_export_loses_no_other_recording_and_leaves_no_partial_file(
    bucket: Bucket, proxy: Proxy, samples: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    audiosieve("score", "--input", upload_few(bucket, samples), "--output", bucket / "out")
    proxy.fail = lambda call: 403 if call.kind == "read" and "clean" in call.name else None
    done = exported_from(bucket / "out", bucket / "keep", bucket / "audio", *options)
    assert "1 exported" in done
    assert "1 rejected (1 unreadable" in done
    retry_briefly(monkeypatch)
    proxy.fail = lambda call: 503 if call.kind in ("part", "write") and "probe" not in call.name else None
    words = ["filter", bucket / "out", "--output", bucket / "keep", "--where", "true", "--export", bucket / "audio"]
    before = bucket.names()
    done = audiosieve(*words, *options, status=1)
    assert "the storage does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert bucket.names() == before
    proxy.fail = lambda _: None
    assert "2 exported" in exported_from(bucket / "out", bucket / "keep", bucket / "audio", *options)
