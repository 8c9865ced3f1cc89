"""The export of `audiosieve filter`: audio files or shards, and what happens when it is run again."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.local_files import DRAFT_PREFIX
from pipelines.filter import run
from pipelines.filtering.folders import LocalFolder
from tests.support.command import audiosieve
from tests.support.filtered import (
    BAD_MIDDLE,
    RATE,
    ids_of,
    read_member,
    refs_of,
    rows_of,
    wav,
    write_corpus,
    write_output_of,
    write_tar,
)
from tests.support.outputs import scored, write_output
from transforms.corpus.sources import list_corpus
from transforms.elements import ScoredUtterance


@pytest.fixture
def long_corpus(tmp_path) -> tuple[Path, Path]:
    """Three recordings of 7.4 s, one with an anomaly and one that has changed since it was scored, and their output."""
    audio = tmp_path / "long"
    for number, name in enumerate(("good.wav", "middle.wav", "changed.wav")):
        wav(audio / name, 7.376, number)
    items = []
    for ref in list_corpus(str(audio)):
        made = scored(ref.utterance_id, BAD_MIDDLE if ref.utterance_id == "middle.wav" else np.full(460, 4.0))
        items.append(ScoredUtterance(dataclasses.replace(made.utterance, ref=ref), made.frame_score))
    (audio / "changed.wav").write_bytes((audio / "changed.wav").read_bytes() + b"more")
    return audio, write_output(tmp_path / "out", items, source=str(audio))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_audio_of_kept_utterances(long_corpus, tmp_path, workers):
    audio, output = long_corpus
    keep, exported = tmp_path / "keep", tmp_path / "exported"
    words = ["filter", output, "--output", keep, "--trim", "anomalies", "--export", exported]
    done = audiosieve(*words, f"--direct_num_workers={workers}")
    assert "3 exported" in done.stdout
    assert "1 rejected (1 changed; see export_rejects.parquet)" in done.stdout
    assert (exported / "good.wav").read_bytes() == (audio / "good.wav").read_bytes()
    whole, _ = soundfile.read(audio / "middle.wav", dtype="int16")
    names = ["middle_0001.flac", "middle_0002.flac"]
    assert sorted(path.name for path in exported.iterdir()) == ["good.wav", *names]
    for name, (start, end) in zip(names, [(0, 49_600), (68_608, len(whole))], strict=True):
        samples, rate = soundfile.read(exported / name, dtype="int16")
        assert rate == RATE
        assert (samples == whole[start:end]).all()
    (reject,) = rows_of(keep / "export_rejects.parquet")
    assert (reject["utterance_id"], reject["stage"], reject["reason"]) == ("changed.wav", "export", "changed")
    refs = list_corpus(str(keep / "manifest.jsonl"))
    assert [ref.utterance_id for ref in refs] == ["good.wav", "middle.wav#0.000-3.100", "middle.wav#4.288-7.376"]
    assert {Path(ref.uri) for ref in refs} == set(exported.iterdir())


def test_an_interrupted_export_is_resumed(long_corpus, tmp_path):
    _, output = long_corpus
    keep, exported = tmp_path / "keep", tmp_path / "exported"
    audiosieve("filter", output, "--output", keep)
    words = ["filter", output, "--output", keep, "--export", exported]
    audiosieve(*words)
    written = {path.name: path.stat().st_mtime_ns for path in exported.iterdir()}
    (exported / "middle.wav").unlink()
    assert "2 exported" in audiosieve(*words).stdout
    after = {path.name: path.stat().st_mtime_ns for path in exported.iterdir()}
    assert after["good.wav"] == written["good.wav"]
    assert "middle.wav" in after
    # Another selection or another format of export does not continue this one.
    assert "is not empty" in audiosieve(*words, "--export_format", "webdataset", status=2).stderr
    assert "is not empty" in audiosieve(*words, "--where", "true", status=2).stderr
    audiosieve(*words, "--export_format", "webdataset", "--overwrite")
    assert [path.name for path in exported.iterdir()] == ["shard-000000.tar"]


def test_an_interrupted_overwriting_can_be_repeated(long_corpus, tmp_path, monkeypatch):
    _, output = long_corpus
    keep, exported = tmp_path / "keep", tmp_path / "exported"
    words = ["filter", output, "--output", keep, "--export", exported]
    audiosieve(*words)

    def interrupt(folder: LocalFolder) -> None:
        Path(folder.uri, "good.wav").unlink()
        raise KeyboardInterrupt

    options = [str(word) for word in (*words[1:], "--where", "score > 1", "--overwrite")]
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "clear", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(options)
    audiosieve(*words, "--where", "score > 1", "--overwrite")
    assert sorted(path.name for path in exported.iterdir()) == ["good.wav", "middle.wav"]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("format", ["flac", "webdataset", "shar", "parquet"])
def test_a_killed_export_continues(tmp_path, format):
    for number in range(16):
        wav(tmp_path / f"audio/r{number:02d}.wav", 8.0, number)
    output = write_output_of(tmp_path / "audio", tmp_path / "out", [4.0] * 16)
    shards = [] if format == "flac" else ["--shard_size", 2]
    options = ["--rules", "none", "--export_format", format, *shards, "--loudness", -23, "--sample_rate", 24_000]

    def words(name: str) -> list[object]:
        return ["filter", output, "--output", tmp_path / f"keep_{name}", "--export", tmp_path / name, *options]

    audiosieve(*words("whole"))
    command = [sys.executable, "-m", "pipelines.cli", *map(str, words("killed"))]
    folder = tmp_path / "killed"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while process.poll() is None and not list(folder.glob("*[0-9].*")):
            time.sleep(0.01)
        process.kill()
    # A process that is killed at another moment leaves the draft of a file.
    (folder / f"{DRAFT_PREFIX}0" / "unfinished").mkdir(parents=True)
    done = audiosieve(*words("killed"))
    assert "16 exported" in done.stdout
    assert contents(folder) == contents(tmp_path / "whole")
    assert not list(folder.glob(".*"))
    manifests = [contents(tmp_path / f"keep_{name}").get("manifest.jsonl", b"") for name in ("whole", "killed")]
    assert manifests[0].replace(b"/whole/", b"/killed/") == manifests[1]


def test_a_bad_rule_does_not_touch_an_earlier_export(long_corpus, tmp_path):
    _, output = long_corpus
    words = ["filter", output, "--output", tmp_path / "keep", "--export", tmp_path / "exported"]
    audiosieve(*words)
    audiosieve(*words, "--where", "nothing > 1", "--overwrite", status=2)
    assert len(list((tmp_path / "exported").iterdir())) == 2


def test_shards_are_a_corpus(tmp_path):
    tars = write_tar(write_corpus(tmp_path / "audio"), tmp_path / "tars")
    output = write_output_of(tars, tmp_path / "out", [4.0, 1.0, 4.0, 4.0, 1.0, 4.0])
    words = ["--export", tmp_path / "shards", "--export_format", "webdataset", "--shard_size", "3"]
    audiosieve("filter", output, "--output", tmp_path / "keep", *words)
    found = refs_of(tmp_path / "shards/*.tar")
    assert sorted(ref.columns["id"] for ref in found) == ids_of(tmp_path / "keep/kept.parquet")
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["shard-000000.tar", "shard-000001.tar"]
    for ref in found:
        before = read_member(tars / "s.tar", ref.columns["id"].removeprefix("s.tar/"))
        assert read_member(*ref.uri.split("#")) == before


def test_spans_of_a_manifest_are_exported(samples, tmp_path):
    (tmp_path / "corpus.csv").write_text(f"id,path,start,end\nu1,{samples / 'clean.flac'},0.5,2.5\n")
    audiosieve("score", "--input", tmp_path / "corpus.csv", "--output", tmp_path / "out")
    done = audiosieve(
        "filter", tmp_path / "out", "--output", tmp_path / "keep", "--where", "true", "--export", tmp_path / "audio"
    )
    assert "1 exported" in done.stdout
    (file,) = (tmp_path / "audio").rglob("*.flac")
    whole, _ = soundfile.read(samples / "clean.flac", dtype="int16")
    np.testing.assert_array_equal(soundfile.read(file, dtype="int16")[0], whole[8_000:40_000])
