"""The real command line on Cloud Storage, over HTTP, against an emulator in a process of its own."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from apache_beam.io.gcp import gcsio_retry

from model.bundle import BUNDLED, DEFAULT
from tests.support.command import Output, audiosieve, audiosieve_process
from tests.support.gcs_emulator import Bucket
from tests.support.gcs_proxy import CUT, RESET, Call, Fault, Inside, Proxy, first
from transforms.output.ledger import Ledger, names_that_count
from transforms.schemas import SCORE_TABLES
from transforms.storage.gcs import EMULATOR

# What differs between two runs of the same, and between two places of the same recording.
OF_THE_PLACE = ("uri", "source_version", "size_bytes", "detail")
FEW = ("clean.flac", "corrupt.flac", "noise_20db.flac")


def tables(output: Path) -> dict[str, list[dict]]:
    """All committed rows, sorted, without what is of the place; numbers as far as they are told."""
    records = Ledger(str(output), tuple(SCORE_TABLES)).records("score")
    found = {}
    for table in SCORE_TABLES:
        rows = [
            {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in row.items()
                if name not in OF_THE_PLACE
            }
            for name in names_that_count(records, table)
            for row in pq.read_table(output / name).to_pylist()
        ]
        found[table] = sorted(rows, key=lambda row: (row["utterance_id"], row.get("frame", 0), row.get("start_s", 0)))
    return found


def only(found: dict[str, list[dict]], ids: tuple[str, ...]) -> dict[str, list[dict]]:
    return {table: [row for row in rows if row["utterance_id"] in ids] for table, rows in found.items()}


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on what fails for a moment is tried again for two seconds, not for two minutes."""
    short = gcsio_retry.DEFAULT_RETRY_WITH_THROTTLING_COUNTER.with_timeout(2.0)
    monkeypatch.setattr(gcsio_retry, "DEFAULT_RETRY_WITH_THROTTLING_COUNTER", short)


def upload_few(bucket: Bucket, samples: Path, prefix: str = "in") -> str:
    for name in FEW:
        bucket.upload(samples / name, f"{prefix}/{name}")
    return bucket / prefix


@pytest.fixture(scope="module")
def scored(emulator: str, samples: Path) -> Iterator[Bucket]:
    """A bucket in which the samples are in `in`, and their scores in `out`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(EMULATOR, emulator)
        bucket = Bucket(emulator)
        bucket.upload(samples, "in")
        done = audiosieve("score", "--input", bucket / "in", "--output", bucket / "out")
        assert "8 scored, 1 rejected (1 corrupt), 0 skipped" in done.stdout
        yield bucket


def test_a_directory_is_scored_as_it_is_here(scored: Bucket, sample_run: Output, tmp_path: Path) -> None:
    found = scored.download("out", tmp_path)
    assert tables(found) == tables(sample_run.root)
    assert {row["uri"] for row in Output(found).utterances} < {scored / name for name in scored.names("in")}
    assert not [name for name in scored.names("out") if "beam-temp" in name or name.endswith(".draft")]


def test_a_glob_a_manifest_and_a_tar_are_scored_as_here(
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
        assert only(found, ("clean.flac", "noise_20db.flac")) == expected, source


@pytest.mark.parametrize("fault", [429, 503, RESET, CUT])
def test_what_fails_for_a_moment_costs_no_recording(
    bucket: Bucket, proxy: Proxy, samples: Path, sample_run: Output, tmp_path: Path, fault: Fault
) -> None:
    again = first(1, fault)
    # The emulator, other than the real one, does not know an upload any more whose last answer was lost.
    proxy.fail = lambda call: None if fault == CUT and call.kind == "part" else again(call)
    upload_few(bucket, samples)
    done = audiosieve("score", "--input", bucket / "in", "--output", bucket / "out")
    assert "2 scored, 1 rejected (1 corrupt)" in done.stdout
    assert tables(bucket.download("out", tmp_path)) == only(tables(sample_run.root), FEW)
    assert proxy.counts.keys() >= {"list", "stat", "read", "start", "part", "batch"}


def test_what_is_forbidden_or_gone_is_rejected_and_the_rest_scored(
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
    # The next run tries them again.
    proxy.fail = lambda _: None
    assert "2 scored, 0 rejected, 3 skipped" in audiosieve(
        "score", "--input", bucket / "in", "--output", bucket / "out"
    ).stdout  # fmt: skip


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["read", "part"])
def test_a_storage_that_stays_away_ends_the_run_and_rejects_nothing(
    bucket: Bucket, proxy: Proxy, samples: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    be_impatient(monkeypatch)
    upload_few(bucket, samples)
    proxy.fail = lambda call: 503 if call.kind == kind and ("clean" in call.name or "utterances" in call.name) else None
    done = audiosieve("score", "--input", bucket / "in", "--output", bucket / "out", status=1)
    assert "the storage does not answer" in done.stderr
    assert "[while running" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not [name for name in bucket.names("out") if "_runs" in name]
    proxy.fail = lambda _: None
    assert "2 scored, 1 rejected" in audiosieve("score", "--input", bucket / "in", "--output", bucket / "out").stdout


def test_a_storage_that_deletes_nothing_any_more_is_told_in_a_sentence(
    bucket: Bucket, proxy: Proxy, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    upload_few(bucket, samples)
    # The first deletes what was written as a trial, the second copies the record to its place, the third deletes its draft.
    for works, fault, then in (
        (0, 503, "2 scored, 1 rejected"),
        (1, Inside(503), "2 scored, 1 rejected"),
        (2, 503, "3 skipped"),
    ):
        out = f"out{works}"
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


def test_who_may_write_but_not_delete_is_told_before_the_work(bucket: Bucket, proxy: Proxy, samples: Path) -> None:
    proxy.fail = lambda call: Inside(403) if call.kind == "batch" else None
    done = audiosieve("score", "--input", samples, "--output", bucket / "out", status=2)
    assert f"{bucket}/out: cannot write there" in done.stderr
    assert "permission is denied (as the test asked)" in done.stderr


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
def test_a_bucket_that_is_not_there_or_is_closed_is_told_in_a_sentence(
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
    assert len(proxy.calls) < 20


def in_a_process(*words: object, code: str = "pass", **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Runs the command line after some code, with variables changed, or removed where None."""
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    main = f"import sys; {code}; from pipelines.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", main, *map(str, words)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=100)


def test_without_credentials_it_is_said_how_to_get_some(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    proxy.fail = lambda _: 401
    done = in_a_process(
        "query", bucket / "out", API_ENDPOINT_OVERRIDE=proxy.address, HOME=str(tmp_path), STORAGE_EMULATOR_HOST=None,
        GOOGLE_APPLICATION_CREDENTIALS=None, NO_GCE_CHECK="true",
    )  # fmt: skip
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
def test_without_the_extra_it_is_said_what_to_install(samples: Path, words: list[str]) -> None:
    code = "sys.modules['google.cloud.storage'] = sys.modules['google.cloud'] = None"
    done = in_a_process(*(word.format(samples=samples) for word in words), code=code)
    assert done.returncode == 2
    assert 'the extra gcp is not installed: pip install "audiosieve[gcp]"' in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_run_that_is_killed_goes_on_where_it_was(
    bucket: Bucket, samples: Path, sample_run: Output, tmp_path: Path
) -> None:
    bucket.upload(samples, "in")
    words = ["score", "--input", bucket / "in", "--output", bucket / "out", "--wave_hours", "0.001"]
    command = [sys.executable, "-m", "pipelines.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while sum(name.endswith(".json") for name in bucket.names("out/_runs")) < 3 and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    done = audiosieve(*words)
    skipped = int(re.search(r"(\d+) skipped", done.stdout)[1])  # type: ignore[index]
    assert 3 <= skipped < 9
    assert tables(bucket.download("out", tmp_path)) == tables(sample_run.root)
    kept = {name for record in bucket.names("out/_runs") for name in json.loads(bucket.read(record))["files"]}
    assert {name.removeprefix("out/") for name in bucket.names("out/") if "_runs" not in name} == kept


def test_a_second_run_scores_what_is_new_or_changed_and_another_all_again(
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
    assert "1 rows of earlier runs" in done.stderr
    scores, expected = Output(bucket.download("out", tmp_path / "a")).scores, sample_run.scores
    assert scores == pytest.approx(
        {
            "new.flac": expected["burst.flac"],
            "clean.flac": expected["clipped.flac"],
            "noise_20db.flac": expected["noise_20db.flac"],
        },
        abs=1e-3,
    )
    assert "2 scored, 1 rejected (1 corrupt), 0 skipped" in audiosieve(*words, "--overwrite").stdout
    assert Output(bucket.download("out", tmp_path / "b")).scores.keys() == {"new.flac", "clean.flac"}


def test_two_processes_give_the_same(bucket: Bucket, samples: Path, sample_run: Output, tmp_path: Path) -> None:
    bucket.upload(samples, "in")
    audiosieve_process(
        "score", "--input", bucket / "in", "--output", bucket / "out", "--direct_num_workers=2", "--wave_hours=0.004",
        "--model", bucket.upload(BUNDLED / DEFAULT, "models/mine"),
    )  # fmt: skip
    assert tables(bucket.download("out", tmp_path)) == tables(sample_run.root)


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
    assert "holds something else" in audiosieve(*words, status=2).stderr
    for place in ("out/keep", "in/keep"):
        assert "overlaps with" in audiosieve("filter", scored / "out", "--output", scored / place, status=2).stderr


def exported_from(output: object, keep: object, audio: object, *options: object) -> str:
    return audiosieve("filter", output, "--output", keep, "--where", "true", "--export", audio, *options).stdout


@pytest.mark.parametrize("options", [(), ("--export_format", "webdataset", "--shard_size", 5)], ids=["files", "shards"])
def test_the_audio_of_what_is_kept_is_written_into_a_bucket_as_it_is_here(
    scored: Bucket, sample_run: Output, tmp_path: Path, options: tuple[object, ...]
) -> None:
    local, remote = tmp_path / "audio", scored / f"audio{len(options)}"
    words = ("--trim", "anomalies", *options)
    here = exported_from(sample_run.root, tmp_path / "keep", local, *words)
    there = exported_from(scored / "out", scored / f"kept{len(options)}", remote, *words, "--direct_num_workers=2")
    assert there.splitlines()[-1] == here.splitlines()[-1].replace(str(local), remote)
    assert "\n8 exported to gs://" in there
    found = scored.download(f"audio{len(options)}", tmp_path / "found")
    names = {path.relative_to(local) for path in local.rglob("*") if path.is_file()}
    assert names == {path.relative_to(found) for path in found.rglob("*") if path.is_file()}
    assert all((local / name).read_bytes() == (found / name).read_bytes() for name in names)
    listed = {"/exported.jsonl"} if not options else set()
    assert {f"kept{len(options)}{name}" for name in {"/export.json", "/export_rejects.parquet", *listed}} < set(
        scored.names(f"kept{len(options)}/")
    )


def test_an_export_into_a_bucket_goes_on_where_it_was(bucket: Bucket, proxy: Proxy, samples: Path) -> None:
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
    done = audiosieve(
        "filter", bucket / "out", "--output", bucket / "keep", "--where", "true", "--export", bucket / "audio",
        "--export_format", "webdataset", status=2,
    )  # fmt: skip
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
def test_what_cannot_be_exported_costs_no_other_and_no_half_is_left(
    bucket: Bucket, proxy: Proxy, samples: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    audiosieve("score", "--input", upload_few(bucket, samples), "--output", bucket / "out")
    proxy.fail = lambda call: 403 if call.kind == "read" and "clean" in call.name else None
    done = exported_from(bucket / "out", bucket / "keep", bucket / "audio", *options)
    assert "1 exported" in done
    assert "1 rejected (1 unreadable" in done
    be_impatient(monkeypatch)
    proxy.fail = lambda call: 503 if call.kind in ("part", "write") and "probe" not in call.name else None
    words = ["filter", bucket / "out", "--output", bucket / "keep", "--where", "true", "--export", bucket / "audio"]
    before = bucket.names()
    done = audiosieve(*words, *options, status=1)
    assert "the storage does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert bucket.names() == before
    proxy.fail = lambda _: None
    assert "2 exported" in exported_from(bucket / "out", bucket / "keep", bucket / "audio", *options)


def test_a_bundle_in_a_bucket_scores_as_the_same_here(
    bucket: Bucket, samples: Path, sample_run: Output, tmp_path: Path
) -> None:
    upload_few(bucket, samples)
    model = bucket.upload(BUNDLED / DEFAULT, "models/mine")
    words = ["score", "--input", bucket / "in", "--output", bucket / "out"]
    audiosieve(*words, "--model", f"{model}/")
    assert tables(bucket.download("out", tmp_path)) == only(tables(sample_run.root), FEW)
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
    assert f"model {bucket.uri}/models/broken: model.weights.h5 is not the file" in done.stderr


def test_calls_are_told_apart() -> None:
    """Of the proxy: what is not counted as it is makes no test fail."""
    from tests.support.gcs_proxy import classify

    for line, call in {
        "GET /storage/v1/b/x/o?prefix=in%2F&projection=noAcl": Call("list", "in/"),
        "GET /storage/v1/b/x/o/in%2Fa.wav?projection=noAcl": Call("stat", "in/a.wav"),
        "GET /download/storage/v1/b/x/o/in/a.wav?alt=media": Call("read", "in/a.wav"),
        "POST /upload/storage/v1/b/x/o?uploadType=resumable": Call("start", ""),
        "POST /batch/storage/v1": Call("batch", ""),
    }.items():
        assert classify(line) == call
