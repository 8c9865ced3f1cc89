"""`audiosieve score --prune`, the real command: what is gone from the corpus is gone from the tables, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.common.output_lock import output_lock
from tests.support.command import Output, audiosieve
from tests.support.storage.bucket_runs import retry_briefly, upload_few
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import Fault, Proxy
from transforms.output.ledger import Ledger
from transforms.schemas import SCORE_TABLES

pytestmark = pytest.mark.slow
NAMES = ("burst.flac", "clean.flac", "corrupt.flac", "noise_10db.flac")


@pytest.fixture
def corpus(samples: Path, tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    root.mkdir()
    for name in NAMES:
        shutil.copy(samples / name, root)
    return root


def ids_in(output: Path) -> dict[str, set[str]]:
    """Returns the ids in each table that a reader finds."""
    ledger = Ledger(str(output), tuple(SCORE_TABLES))
    return {
        table: {name for batch in ledger.rows(table, ["utterance_id"]) for name in batch["utterance_id"].to_pylist()}
        for table in SCORE_TABLES
    }


def files_in(output: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in output.rglob("*") if path.is_file() and ".lock" not in path.name}


def test_rows_are_removed_from_each_table_while_others_are_scored(corpus: Path, samples: Path, tmp_path: Path) -> None:
    words = ["score", corpus, tmp_path / "out"]
    audiosieve(*words, "--wave_hours", "0.001")
    before = Output(tmp_path / "out").scores
    (corpus / "burst.flac").unlink()
    (corpus / "corrupt.flac").unlink()
    shutil.copy(samples / "clipped.flac", corpus)
    written = files_in(tmp_path / "out")
    done = audiosieve(*words, "--prune", "--dry-run")
    assert "would remove 2 rows of recordings that are no longer in" in done.stdout
    assert ", as burst.flac\n" in done.stdout
    assert files_in(tmp_path / "out") == written
    done = audiosieve(*words, "--prune")
    assert "removed 2 rows of recordings that are no longer in" in done.stderr
    assert "1 scored, 0 rejected, 2 skipped" in done.stdout
    good = {"clean.flac", "noise_10db.flac", "clipped.flac"}
    found = ids_in(tmp_path / "out")
    assert (found["utterances"], found["frames"], found["rejects"]) == (good, good, set())
    assert "burst.flac" not in found["anomalies"]
    after = Output(tmp_path / "out").scores
    assert {name: after[name] for name in ("clean.flac", "noise_10db.flac")} == {
        name: before[name] for name in ("clean.flac", "noise_10db.flac")
    }
    # All that reads goes on, and a second time there is nothing to remove.
    assert "3 utterances, " in audiosieve("query", tmp_path / "out").stdout
    audiosieve("compact", tmp_path / "out")
    before_again = files_in(tmp_path / "out")
    assert "removed 0 rows" in audiosieve(*words, "--prune").stderr
    assert files_in(tmp_path / "out") == before_again


def test_a_corpus_that_is_empty_or_missing_removes_nothing(corpus: Path, samples: Path, tmp_path: Path) -> None:
    words = ["score", corpus, tmp_path / "out", "--prune"]
    audiosieve(*words)
    before = files_in(tmp_path / "out")
    for name in NAMES:
        (corpus / name).unlink()
    assert "the directory holds no file" in audiosieve(*words, status=2).stderr
    shutil.copy(samples / "clipped.flac", corpus)
    assert "all their rows would be removed" in audiosieve(*words, status=2).stderr
    shutil.rmtree(corpus)
    assert "there is no such file or directory" in audiosieve(*words, status=2).stderr
    assert files_in(tmp_path / "out") == before


def test_another_process_that_writes_there_is_waited_for(corpus: Path, tmp_path: Path) -> None:
    words = ["score", corpus, tmp_path / "out", "--prune"]
    audiosieve(*words)
    (corpus / "burst.flac").unlink()
    with output_lock(tmp_path / "out"):
        assert "another audiosieve process is writing there" in audiosieve(*words, status=2).stderr
    assert "burst.flac" in ids_in(tmp_path / "out")["utterances"]
    Ledger(str(tmp_path / "out"), tuple(SCORE_TABLES)).begin("20260101T000000Z-abcdef", {})
    assert "is not committed yet" in audiosieve(*words, status=2).stderr
    assert "burst.flac" in ids_in(tmp_path / "out")["utterances"]


@pytest.mark.parametrize("fault", [403, 503])
def test_a_bucket_that_cannot_be_listed_removes_nothing(
    bucket: Bucket, proxy: Proxy, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    retry_briefly(monkeypatch)
    upload_few(bucket, samples)
    words = ["score", bucket / "in", tmp_path / "out", "--prune"]
    audiosieve(*words)
    before = files_in(tmp_path / "out")
    bucket.delete("in/clean.flac")
    proxy.fail = lambda call: fault if call.kind == "list" and call.name.startswith("in") else None
    audiosieve(*words, status=2 if fault == 403 else 1)
    assert files_in(tmp_path / "out") == before
    proxy.fail = lambda _: None
    assert "removed 1 row" in audiosieve(*words).stderr


def test_workers_that_list_cannot_tell_what_is_gone(tmp_path: Path, corpus: Path) -> None:
    words = ["score", corpus, tmp_path / "out", "--prune", "--listing", "workers", "--runner", "PrismRunner"]
    assert "--prune lists the corpus in this process" in audiosieve(*words, status=2).stderr
