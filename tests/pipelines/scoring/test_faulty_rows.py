"""`audiosieve score` with faulty rows in its manifest, from the listing to the tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import Output, audiosieve

pytestmark = pytest.mark.slow


def write(manifest: Path, *lines: dict | str) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    manifest.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return manifest


def row(name: str, samples: Path, **changes: object) -> dict:
    return {"id": name, "audio_filepath": str(samples / "clean.flac"), "offset": 0.0, "duration": 1.0, **changes}


def rejects(output: Path) -> dict[str, tuple[str, str]]:
    return {item["utterance_id"]: (item["stage"], item["reason"]) for item in Output(output).rejects}


def test_faulty_rows_are_rejects_once_until_they_are_corrected(samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    lines = [row("a", samples), row("b", samples, duration=0), "{broken", row("a", samples), row("d", samples)]
    manifest = write(tmp_path / "m.jsonl", *lines)
    done = audiosieve("score", "--input", manifest, "--output", output)
    assert "2 scored, 3 rejected (2 invalid_row, 1 duplicate_id)" in done.stdout
    assert (
        f"3 rows of the corpus are faulty (2 invalid_row, 1 duplicate_id), as {manifest}, line 4: the id 'a'"
        in done.stderr
    )
    assert set(Output(output).scores) == {"a", "d"}
    (broken,) = [item for item in Output(output).rejects if item["utterance_id"].startswith("m.jsonl#row-")]
    assert broken["detail"].startswith(f"{manifest}, line 3: it is not JSON")
    assert broken["uri"] == str(manifest)
    assert rejects(output) == {
        "a#2": ("list", "duplicate_id"),
        "b": ("list", "invalid_row"),
        broken["utterance_id"]: ("list", "invalid_row"),
    }
    # The same corpus again: no row twice.
    again = audiosieve("score", "--input", manifest, "--output", output)
    assert "0 scored, 0 rejected, 5 skipped as already done" in again.stdout
    assert "faulty" not in again.stderr
    # A line before them moves the rows; one is corrected.
    write(manifest, row("c", samples), row("a", samples), row("b", samples), *lines[2:])
    moved = audiosieve("score", "--input", manifest, "--output", output)
    assert "2 scored, 2 rejected" in moved.stdout
    assert set(Output(output).scores) == {"a", "b", "c", "d"}
    details = {item["utterance_id"]: item["detail"] for item in Output(output).rejects}
    assert set(details) == {"a#2", broken["utterance_id"]}
    assert f"{manifest}, line 4: it is not JSON" in details[broken["utterance_id"]]


def test_a_span_that_its_recording_does_not_have_is_a_fault_of_its_row(samples: Path, tmp_path: Path) -> None:
    manifest = write(
        tmp_path / "m.jsonl", row("a", samples), row("b", samples, offset=100.0), row("c", samples, duration=99)
    )
    audiosieve("score", "--input", manifest, "--output", tmp_path / "out")
    assert set(Output(tmp_path / "out").scores) == {"a"}
    assert rejects(tmp_path / "out") == {"b": ("list", "outside"), "c": ("list", "outside")}
    details = {item["utterance_id"]: item["detail"] for item in Output(tmp_path / "out").rejects}
    assert details["b"] == "line 2 of the manifest: 100 to 101 s is not within the recording of 4.07 s"
    # With its own id or not, the row is scored when it is corrected.
    write(manifest, row("a", samples), row("b", samples), row("c", samples, duration=99))
    assert "1 scored, 0 rejected" in audiosieve("score", "--input", manifest, "--output", tmp_path / "out").stdout
    assert rejects(tmp_path / "out") == {"c": ("list", "outside")}


def test_strict_refuses_the_corpus(samples: Path, tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.jsonl", row("a", samples), "{broken")
    done = audiosieve("score", "--input", manifest, "--output", tmp_path / "out", "--strict", status=2)
    assert f"{manifest}, line 2: it is not JSON" in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_usable_row_the_status_is_3_with_one_sentence(tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.jsonl", "{broken", '{"id": "b"}')
    done = audiosieve("score", "--input", manifest, "--output", tmp_path / "out", status=3)
    assert "no utterance has a score, because all inputs were rejected" in done.stderr
    assert len(Output(tmp_path / "out").rejects) == 2
    dry = audiosieve("score", "--input", manifest, "--dry_run", status=3)
    assert "2 rows of the corpus are faulty (2 invalid_row)" in dry.stdout
    assert dry.stderr == "audiosieve score: no row of the corpus can be used\n"


def test_a_dry_run_counts_faulty_rows(samples: Path, tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.jsonl", "{broken", row("a", samples))
    done = audiosieve("score", "--input", manifest, "--dry_run")
    assert "1 utterance," in done.stdout
    assert f"1 row of the corpus is faulty (1 invalid_row), as {manifest}, line 1: it is not JSON" in done.stdout
    assert "utterance_id     a\n" in done.stdout


def test_a_known_layout_brings_its_texts(samples: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "LJSpeech-1.1"
    (corpus / "wavs").mkdir(parents=True)
    (corpus / "wavs/LJ001-0001.flac").write_bytes((samples / "clean.flac").read_bytes())
    (corpus / "metadata.csv").write_text("LJ001-0001|Good day, 2 of you|Good day, two of you\n")
    for _ in range(2):  # The columns that are carried by themselves do not make the second run another one.
        audiosieve("score", "--input", corpus, "--output", tmp_path / "out")
    (utterance,) = Output(tmp_path / "out").utterances
    assert (utterance["utterance_id"], utterance["text"]) == ("LJ001-0001", "Good day, 2 of you")
    assert utterance["normalized_text"] == "Good day, two of you"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--audio_root", "/nowhere"], "--audio_root /nowhere is not a directory"),
        (["--columns", "path"], "--columns is 'path'; must be ROLE=COLUMN, with one of the roles path, id,"),
        (["--columns", "paht=x"], "--columns is 'paht=x'; must be ROLE=COLUMN"),
        (["--columns", "path=x,path=y"], "the role path occurs twice"),
        (["--columns", "path="], "the path must have a column"),
        (["--columns", "path=clip"], "--columns path=clip names no column"),
        (["--columns", "path=b,text=a"], "--columns text=a names no column"),
        (["--carry", "nothing"], "--carry: the corpus has no column 'nothing'; its columns: audio_filepath, b"),
    ],
)
def test_wrong_options_are_refused_before_the_run(samples: Path, tmp_path: Path, options: list[str], said: str) -> None:
    manifest = write(tmp_path / "m.jsonl", {"audio_filepath": str(samples / "clean.flac"), "b": "x"})
    done = audiosieve("score", "--input", manifest, "--output", tmp_path / "out", *options, status=2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
