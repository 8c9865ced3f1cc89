"""`audiosieve compact`: the real command, on outputs made without scoring and on one that was scored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.command import Output, audiosieve
from tests.support.outputs import rejected, scored, write_output
from transforms import schemas
from transforms.output.ledger import Ledger


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for run in range(3):
        write_output(
            tmp_path / "out", [scored(f"{run}/a", 2.0 + run / 2), scored(f"{run}/b", 4.0)], [rejected(f"{run}/c")]
        )
    return tmp_path / "out"


def on_disk(output: Path) -> list[str]:
    return sorted(
        str(path.relative_to(output)) for path in output.rglob("*") if path.is_file() and path.name != ".lock"
    )


def test_all_that_reads_and_scores_goes_on_as_before(samples: Path, tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    for name in ("clean.flac", "noise_10db.flac", "corrupt.flac", "burst.flac"):
        shutil.copy(samples / name, corpus)
    audiosieve("score", "--input", corpus, "--output", out, "--wave_hours", 0.001)

    def answers() -> list[str]:
        asked = [
            ["utterances", "utterance_id"],
            ["frames", "utterance_id, frame"],
            ["anomalies", "utterance_id, start_s"],
            ["rejects", "utterance_id"],
            ["runs", "run_id"],
        ]
        found = [audiosieve("query", out, f"FROM {table} ORDER BY {keys}", "--format", "json") for table, keys in asked]
        kept = tmp_path / "kept"
        audiosieve("filter", out, "--output", kept, "--where", "score >= 2")
        rows = sorted(line for path in kept.glob("*.csv") for line in path.read_text().splitlines())
        shutil.rmtree(kept)
        return [done.stdout for done in (*found, audiosieve("query", out))] + rows

    before = answers()
    files = on_disk(out)
    assert sum(name.startswith("frames/") for name in files) == 3
    done = audiosieve("compact", out)
    assert "utterances: 3 files with 3 rows became 1" in done.stdout
    assert sum(name.startswith("frames/") for name in on_disk(out)) == 1
    assert answers() == before

    assert "nothing to do" in audiosieve("compact", out).stdout
    assert "0 scored, 0 rejected, 4 skipped" in audiosieve("score", "--input", corpus, "--output", out).stdout
    shutil.copy(samples / "noise_00db.flac", corpus / "clean.flac")
    assert "1 scored, 0 rejected, 3 skipped" in audiosieve("score", "--input", corpus, "--output", out).stdout
    assert Output(out).scores.keys() == {"clean.flac", "noise_10db.flac", "burst.flac"}
    assert Output(out).scores["clean.flac"] < 2


def test_a_dry_run_says_what_it_would_do_and_does_nothing(output: Path) -> None:
    before = on_disk(output)
    done = audiosieve("compact", output, "--dry_run")
    assert "utterances: 3 files with 6 rows and " in done.stdout
    assert "would become 1 or fewer" in done.stdout
    assert on_disk(output) == before
    audiosieve("compact", output)
    assert (
        "nothing to do: no table has two files of less than 128 MB" in audiosieve("compact", output, "--dry_run").stdout
    )


def test_the_record_says_what_was_done(output: Path) -> None:
    audiosieve("compact", output, "--file_mb", 10)
    (record,) = [
        record
        for path in (output / "_runs").glob("*.json")
        if (record := json.loads(path.read_text()))["job"] == "compact"
    ]
    assert record["counts"]["utterances"] == {"files": 3, "merged_files": 1, "rows": 6}
    assert record["options"]["file_mb"] == 10
    assert sorted(record["files"]) == [name for name in on_disk(output) if name.endswith(".parquet")]


def test_a_job_under_way_elsewhere_is_waited_for(output: Path) -> None:
    ledger = Ledger(str(output), tuple(schemas.SCORE_TABLES))
    ledger.begin("20260101T000000Z-abcdef", {})
    before = on_disk(output)
    assert "run 20260101T000000Z-abcdef, a job on another runner" in audiosieve("compact", output, status=2).stderr
    assert on_disk(output) == before


def test_what_an_earlier_one_left_behind_is_removed(output: Path) -> None:
    left = output / "frames" / "20260101T000000Z-abcdef-0123456789ab.parquet"
    left.write_bytes(b"half a file")
    audiosieve("compact", output)
    assert not left.exists()


@pytest.mark.parametrize(
    ("options", "said"), [(["--file_mb", 0], "--file_mb is 0"), (["--file_mb", 2000], "from 1 to 1024")]
)
def test_impossible_sizes_are_refused(output: Path, options: list, said: str) -> None:
    assert said in audiosieve("compact", output, *options, status=2).stderr


def test_what_is_no_output_is_refused_and_not_made_one(tmp_path: Path) -> None:
    assert "contains no completed run" in audiosieve("compact", tmp_path / "nowhere", status=2).stderr
    assert not (tmp_path / "nowhere").exists()
    Ledger(str(tmp_path / "set"), ("clips",)).commit("1", {"job": "synthesize"}, [])
    assert "written by `audiosieve synthesize`" in audiosieve("compact", tmp_path / "set", status=2).stderr
