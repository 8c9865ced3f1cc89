"""`audiosieve score`, end to end: the real command on real files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from model.activity import find_activity
from model.bundle import DEFAULT, open_bundle
from model.pooling import pool
from tests.support.command import Output, audiosieve, audiosieve_process
from tests.support.training.training_material import synthesize
from transforms.elements import ScoredUtterance
from transforms.scoring.rows import ToRows

pytestmark = pytest.mark.slow
TOLERANCE = 1e-3


def test_every_file_is_scored_or_rejected(sample_run: Output, samples: Path) -> None:
    listed = {path.name for path in samples.iterdir()}
    rejected = {row["utterance_id"] for row in sample_run.rejects}
    assert rejected == {"corrupt.flac"}
    assert set(sample_run.scores) == listed - rejected


def test_the_pooled_frames_of_an_utterance_are_its_score(sample_run: Output) -> None:
    frames, pooling = sample_run.frame_scores, open_bundle(DEFAULT).pooling
    for row in sample_run.utterances:
        assert len(frames[row["utterance_id"]]) == row["num_frames"]
        counted = find_activity(10 ** (np.array(sample_run.levels[row["utterance_id"]], np.float64) / 10)).counted
        score = pool(np.array(frames[row["utterance_id"]])[counted], pooling)
        assert score == pytest.approx(row["score"], abs=1e-4)


def test_frames_start_every_16_ms(sample_run: Output) -> None:
    for row in sample_run.frames:
        assert row["start_s"] == pytest.approx(row["frame"] * 0.016, abs=1e-5)


def test_more_noise_scores_lower_and_clean_best(sample_run: Output) -> None:
    scores = sample_run.scores
    ladder = [scores[name] for name in ("noise_00db.flac", "noise_10db.flac", "noise_20db.flac", "clean.flac")]
    assert ladder == sorted(ladder)


def test_facts_and_flags_of_the_samples(sample_run: Output) -> None:
    rows = {row["utterance_id"]: row for row in sample_run.utterances}
    assert rows["clipped.flac"]["flags"] == ["clipped"]
    assert rows["clean.flac"]["flags"] == []
    stereo = rows["stereo_48k.flac"]
    assert (stereo["sample_rate"], stereo["channels"], stereo["format"]) == (48_000, 2, "FLAC/PCM_16")
    assert rows["compressed.mp3"]["format"].startswith("MP3/")


def test_the_noise_burst_is_found_where_it_is(sample_run: Output, samples: Path) -> None:
    found = [row for row in sample_run.anomalies if row["utterance_id"] == "burst.flac"]
    middle = soundfile.info(samples / "burst.flac").duration / 2
    overlap = sum(max(0.0, min(row["end_s"], middle + 1) - max(row["start_s"], middle)) for row in found)
    assert overlap > 0.5
    assert sum(row["end_s"] - row["start_s"] for row in found) < 2.5


def test_the_record_accounts_for_everything(sample_run: Output) -> None:
    (record_path,) = (sample_run.root / "_runs").glob("*.json")
    record = json.loads(record_path.read_text())
    assert record["counts"] == {"listed": 9, "scored": 8, "rejected": 1, "skipped": 0}
    assert record["bundle_hash"] == open_bundle(DEFAULT).hash
    on_disk = {str(path.relative_to(sample_run.root)) for path in sample_run.root.glob("[!_]*/*.parquet")}
    assert set(record["files"]) == on_disk
    assert record["versions"]["apache-beam"]
    assert record["audio_s"] == pytest.approx(sum(row["duration_s"] for row in sample_run.utterances), abs=0.01)


def test_the_files_say_which_model_and_features_made_them(sample_run: Output) -> None:
    bundle = open_bundle(DEFAULT)
    for table in ("utterances", "frames", "anomalies", "rejects"):
        (file,) = (sample_run.root / table).glob("*.parquet")
        metadata = pq.read_schema(file).metadata
        assert metadata[b"audiosieve.model_id"].decode() == bundle.model_id
        assert json.loads(metadata[b"audiosieve.features"]) == bundle.features.as_dict()


@pytest.mark.parametrize(
    "options",
    [
        ["--batch_size", 1],
        ["--batch_size", 3, "--batch_frames", 500],
        ["--direct_num_workers", 2],
        ["--direct_num_workers=2", "--batch_size=2"],
    ],
    ids=str,
)
def test_scores_do_not_depend_on_batches_or_processes(
    options: list, sample_run: Output, samples: Path, tmp_path: Path
) -> None:
    audiosieve("score", "--input", samples, "--output", tmp_path / "out", *options)
    other = Output(tmp_path / "out")
    assert other.scores == pytest.approx(sample_run.scores, abs=TOLERANCE)
    expected = sample_run.frame_scores
    for name, scores in other.frame_scores.items():
        assert scores == pytest.approx(expected[name], abs=TOLERANCE)


def test_processes_of_a_run_say_nothing_of_their_own(samples: Path, tmp_path: Path) -> None:
    done = audiosieve_process("score", "--input", samples, "--output", tmp_path / "out", "--direct_num_workers=2")
    first, *progress = done.stderr.splitlines()
    assert first.startswith("scoring 9 utterances")
    assert all(line.startswith("{") for line in progress)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_log_names_rejects_in_json_where_it_is_asked_for(samples: Path, tmp_path: Path, processes: int) -> None:
    options = ("--log_level", "info", f"--direct_num_workers={processes}", "--wave_hours", "0.005")
    done = audiosieve_process("score", "--input", samples, "--output", tmp_path / "out", *options)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"time"')]
    (reject,) = (event for event in events if event["event"] == "reject")
    assert (reject["level"], reject["uri"], reject["reason"]) == ("warning", str(samples / "corrupt.flac"), "corrupt")
    assert sum(event["event"] == "model loaded" for event in events) == processes
    assert {event["event"] for event in events} == {"reject", "model loaded", "run committed"}


def test_scores_do_not_depend_on_order_or_company(sample_run: Output, samples: Path, tmp_path: Path) -> None:
    names = ["noise_10db.flac", "clean.flac", "compressed.mp3"]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,id\n" + "".join(f"{samples / name},{99 - i}\n" for i, name in enumerate(names)))
    audiosieve("score", "--input", manifest, "--output", tmp_path / "some")
    some = Output(tmp_path / "some").scores
    assert {names[99 - int(key)]: value for key, value in some.items()} == pytest.approx(
        {name: sample_run.scores[name] for name in names}, abs=TOLERANCE
    )
    audiosieve("score", "--input", samples / "clean.flac", "--output", tmp_path / "one")
    assert Output(tmp_path / "one").scores == pytest.approx(
        {"clean.flac": sample_run.scores["clean.flac"]}, abs=TOLERANCE
    )


@pytest.fixture
def hostile(tmp_path: Path, samples: Path) -> Path:
    """A folder with two good recordings and one of each kind of garbage."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    shutil.copy(samples / "clean.flac", folder / "good.flac")
    shutil.copy(samples / "compressed.mp3", folder / "good too.mp3")
    whole = (samples / "clean.flac").read_bytes()
    speech, rate = soundfile.read(samples / "clean.flac")
    (folder / "empty.wav").write_bytes(b"")
    os.mkfifo(folder / "fifo.wav")
    (folder / "text.wav").write_text("this is no audio\n" * 50)
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    nan = speech.astype(np.float32)
    nan[5000] = np.nan
    soundfile.write(folder / "nan.wav", nan, rate, subtype="FLOAT")
    soundfile.write(folder / "short.wav", speech[5000:5010], rate)
    soundfile.write(folder / "zeros.wav", np.zeros(rate), rate)
    return folder


def test_each_kind_of_garbage_is_rejected_for_its_reason_and_costs_no_other_its_score(
    hostile: Path, sample_run: Output, tmp_path: Path
) -> None:
    done = audiosieve("score", "--input", hostile, "--output", tmp_path / "out")
    assert "2 scored, 7 rejected" in done.stdout
    out = Output(tmp_path / "out")
    assert out.scores["good.flac"] == pytest.approx(sample_run.scores["clean.flac"], abs=TOLERANCE)
    assert set(out.scores) == {"good.flac", "good too.mp3"}
    rejects = {row["utterance_id"]: (row["stage"], row["reason"]) for row in out.rejects}
    assert rejects == {
        "empty.wav": ("decode", "empty_file"),
        "fifo.wav": ("read", "not_a_file"),
        "text.wav": ("decode", "unsupported_format"),
        "truncated.flac": ("decode", "truncated"),
        "nan.wav": ("decode", "non_finite"),
        "short.wav": ("decode", "too_short"),
        "zeros.wav": ("decode", "silent"),
    }
    assert all(row["detail"] and row["uri"].endswith(row["utterance_id"]) for row in out.rejects)


def test_a_corpus_of_nothing_but_garbage_is_exit_status_3_with_a_sentence(hostile: Path, tmp_path: Path) -> None:
    good = hostile / "good.flac"
    good.rename(tmp_path / good.name)
    (hostile / "good too.mp3").unlink()
    output = tmp_path / "out"
    for _ in range(2):  # the second time, all inputs are skipped
        done = audiosieve("score", "--input", hostile, "--output", output, status=3)
        assert done.stderr.splitlines()[-1] == (
            "audiosieve score: no utterance has a score, because all inputs were rejected; the reasons are in "
            f"{output}/rejects (audiosieve query {output} 'SELECT uri, reason, detail FROM rejects')"
        )
    out = Output(output)
    assert (len(out.utterances), len(out.frames), len(out.rejects)) == (0, 0, 7)
    (tmp_path / good.name).rename(good)
    audiosieve("score", "--input", hostile, "--output", output)
    good.unlink()
    (hostile / "zeros.wav").write_bytes(b"RIFF")
    done = audiosieve("score", "--input", hostile, "--output", output)  # an earlier run scored an utterance
    assert "0 scored, 1 rejected" in done.stdout


def test_a_second_run_scores_only_what_is_new_or_changed(hostile: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    audiosieve("score", "--input", hostile, "--output", out)
    first = Output(out)
    before = first.scores
    assert "0 scored, 0 rejected, 9 skipped" in audiosieve("score", "--input", hostile, "--output", out).stdout

    shutil.copy(samples / "noise_00db.flac", hostile / "good.flac")  # changed
    shutil.copy(samples / "clean.flac", hostile / "empty.wav")  # mended
    shutil.copy(samples / "noise_20db.flac", hostile / "new.flac")
    assert "3 scored, 0 rejected, 7 skipped" in audiosieve("score", "--input", hostile, "--output", out).stdout

    after = Output(out)
    ids = [row["utterance_id"] for row in after.utterances]
    assert sorted(ids) == ["empty.wav", "good too.mp3", "good.flac", "new.flac"]
    assert after.scores["good too.mp3"] == before["good too.mp3"]
    assert after.scores["empty.wav"] == pytest.approx(before["good.flac"], abs=TOLERANCE)
    assert after.scores["good.flac"] < before["good.flac"] - 1
    lasting = {"text.wav", "truncated.flac", "nan.wav", "short.wav", "zeros.wav", "fifo.wav"}
    assert {row["utterance_id"] for row in after.rejects} == lasting
    frames = after.frame_scores
    assert all(len(frames[row["utterance_id"]]) == row["num_frames"] for row in after.utterances)
    assert "0 scored, 0 rejected, 10 skipped" in audiosieve("score", "--input", hostile, "--output", out).stdout


def test_what_a_killed_run_left_behind_is_cleared_away(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    audiosieve("score", "--input", samples / "clean.flac", "--output", out)
    (file,) = (out / "utterances").glob("*.parquet")
    debris = out / "utterances" / "20200101T000000Z-abcdef-00000-of-00001.parquet"
    shutil.copy(file, debris)
    beam_temp = out / "frames" / "beam-temp-20200101T000000Z-abcdef-1234"
    beam_temp.mkdir()
    (beam_temp / "half").write_bytes(b"half a file")
    foreign = out / "utterances" / "notes.txt"
    foreign.write_text("mine")
    audiosieve("score", "--input", samples / "clean.flac", "--output", out)
    assert not debris.exists()
    assert not beam_temp.exists()
    assert foreign.exists()
    assert file.exists()


@pytest.mark.parametrize("lost", ["utterances", "frames"])
def test_a_run_that_lost_a_row_is_not_committed(
    lost: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ToRows.process

    def lossy(self: ToRows, scored: ScoredUtterance) -> Iterator[Any]:
        for row in real(self, scored):
            table = getattr(row, "tag", "frames")
            if not (table == lost and scored.utterance.ref.utterance_id == "clean.flac"):
                yield row

    monkeypatch.setattr(ToRows, "process", lossy)
    with pytest.raises(RuntimeError, match="rows were lost"):
        audiosieve("score", "--input", samples, "--output", tmp_path / "out")
    assert not list((tmp_path / "out" / "_runs").glob("*.json"))
    monkeypatch.setattr(ToRows, "process", real)
    done = audiosieve("score", "--input", samples, "--output", tmp_path / "out")
    assert "8 scored, 1 rejected (1 corrupt), 0 skipped" in done.stdout
    assert len(Output(tmp_path / "out").utterances) == 8


def test_another_corpus_is_not_mixed_in(samples: Path, tmp_path: Path) -> None:
    for name, sample in (("one", "clean.flac"), ("two", "noise_00db.flac")):
        (tmp_path / name).mkdir()
        shutil.copy(samples / sample, tmp_path / name / "001.flac")
        os.utime(tmp_path / name / "001.flac", (0, 0))
    out = tmp_path / "out"
    audiosieve("score", "--input", tmp_path / "one", "--output", out)
    before = Output(out).scores
    done = audiosieve("score", "--input", tmp_path / "two", "--output", out, status=2)
    assert "two corpora do not mix" in done.stderr
    assert Output(out).scores == before


def test_the_same_corpus_may_be_named_in_another_way(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(samples, tmp_path / "corpus", ignore=shutil.ignore_patterns("[!c]*"))
    audiosieve("score", "--input", tmp_path / "corpus", "--output", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("corpus", "./corpus//", "~/corpus", "corpus/*.*"):
        assert "4 skipped" in audiosieve("score", f"--input={name}", "--output=~/out").stdout
    assert all(Path(row["uri"]).is_absolute() for row in Output(tmp_path / "out").utterances)


def test_rows_of_recordings_that_are_gone_stay_and_are_spoken_of(hostile: Path, tmp_path: Path) -> None:
    audiosieve("score", "--input", hostile, "--output", tmp_path / "out")
    (hostile / "good.flac").unlink()
    done = audiosieve("score", "--input", hostile, "--output", tmp_path / "out")
    assert "kept 1 row of recordings that are no longer in" in done.stderr
    assert "good.flac" in Output(tmp_path / "out").scores


def test_scores_do_not_go_into_a_training_set(samples: Path, tmp_path: Path) -> None:
    material = samples / "clean.flac", samples / "noise_00db.flac"
    synthesize(material, tmp_path / "set", "--clips", 1, "--holdout", 0)
    done = audiosieve("score", "--input", samples, "--output", tmp_path / "set", status=2)
    assert "was written by `audiosieve synthesize`" in done.stderr


def test_another_models_scores_are_not_mixed_in(sample_run: Output, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(sample_run.root, out)
    (record,) = (out / "_runs").glob("*.json")
    record.write_text(record.read_text().replace(open_bundle(DEFAULT).model_id, "other@123456789abc"))
    done = audiosieve("score", "--input", samples, "--output", out, status=2)
    assert "other@123456789abc" in done.stderr
    assert "go on with" not in done.stderr
    record.write_text(record.read_text().replace("other@123456789abc", open_bundle("quality_net_v1").model_id))
    done = audiosieve("score", "--input", samples, "--output", out, status=2)
    assert "; go on with --model quality_net_v1, choose another --output, or --overwrite this one\n" in done.stderr


def test_dry_run_prints_one_row_and_writes_nothing(hostile: Path, tmp_path: Path) -> None:
    done = audiosieve("score", "--input", hostile, "--output", tmp_path / "out", "--dry_run")
    assert "9 utterances" in done.stdout
    assert "rejected empty.wav" in done.stdout
    assert "utterance_id     good too.mp3" in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_local_run_needs_no_network(samples: Path, tmp_path: Path) -> None:
    """Every connection that is not to this machine fails at once, as it does on a machine without a network."""
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(
        "import socket\n"
        "real = socket.getaddrinfo\n"
        "def only_here(host, *rest, **how):\n"
        "    if host not in (None, '', 'localhost', '127.0.0.1', '::1', socket.gethostname()):\n"
        f"        open({str(tmp_path / 'tried')!r}, 'a').write(f'{{host}}\\n')\n"
        "        raise OSError('no network')\n"
        "    return real(host, *rest, **how)\n"
        "socket.getaddrinfo = only_here\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{guard}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "score",
        "--input",
        samples / "clean.flac",
        "--output",
        tmp_path / "out",
    ]
    subprocess.run([str(word) for word in command], check=True, env=environment, capture_output=True)
    assert not (tmp_path / "tried").exists()


def test_the_whole_corpus_is_accounted_for(corpus: Path, tmp_path: Path) -> None:
    audiosieve("score", "--input", corpus / "speech", "--output", tmp_path / "out", "--direct_num_workers=2")
    files = {str(path.relative_to(corpus / "speech")) for path in (corpus / "speech").rglob("*") if path.is_file()}
    utterances = pq.read_table(tmp_path / "out" / "utterances").to_pylist()
    rejects = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert len(utterances) + len(rejects) == len(files)
    assert {row["utterance_id"] for row in utterances + rejects} == files
    frames = pq.read_table(tmp_path / "out" / "frames").sort_by([("utterance_id", "ascending"), ("frame", "ascending")])
    ids, starts = np.unique(frames["utterance_id"].to_numpy(), return_index=True)
    by_id = {
        name: dict(zip(ids, np.split(frames[name].to_numpy(), starts[1:]), strict=True))
        for name in ("score", "level_dbfs")
    }
    for row in utterances:
        found, levels = (by_id[name][row["utterance_id"]] for name in ("score", "level_dbfs"))
        assert len(found) == row["num_frames"]
        counted = find_activity(10 ** (levels.astype(np.float64) / 10)).counted
        assert pool(found[counted], open_bundle(DEFAULT).pooling) == pytest.approx(row["score"], abs=1e-4)
