"""Ten recordings get the same scores in every kind of corpus."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.command import Output, audiosieve

pytestmark = pytest.mark.slow
TOLERANCE = 1e-3
COUNT = 10


@pytest.fixture(scope="module")
def ten(samples: Path, tmp_path_factory) -> Path:
    """Ten recordings: parts of the samples, 16-bit WAV at 16 kHz."""
    root = tmp_path_factory.mktemp("ten") / "audio"
    root.mkdir()
    names = ["clean.flac", "noise_20db.flac", "noise_10db.flac", "burst.flac", "clipped.flac"]
    for i in range(COUNT):
        speech, rate = soundfile.read(samples / names[i % 5])
        soundfile.write(root / f"r{i}.wav", speech[: round((1.5 + 0.2 * i) * rate)], rate)
    return root


@pytest.fixture(scope="module")
def expected(ten: Path, tmp_path_factory) -> list[float]:
    output = tmp_path_factory.mktemp("expected") / "out"
    audiosieve("score", "--input", ten, "--output", output)
    scores = Output(output).scores
    return [scores[f"r{i}.wav"] for i in range(COUNT)]


def joined(ten: Path, root: Path) -> list[tuple[float, float]]:
    """Joins all recordings, with half a second between them; returns their spans in seconds."""
    parts, spans, at = [], [], 0
    for i in range(COUNT):
        speech, rate = soundfile.read(ten / f"r{i}.wav")
        parts += [speech, np.zeros(8_000)]
        spans.append((at / rate, (at + len(speech)) / rate))
        at += len(speech) + 8_000
    soundfile.write(root / "long.flac", np.concatenate(parts), 16_000)
    return spans


def manifest_csv(ten: Path, root: Path) -> Path:
    with (root / "corpus.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "speaker"])
        writer.writerows([f"r{i}", ten / f"r{i}.wav", f"s{i % 3}"] for i in range(COUNT))
    return root / "corpus.csv"


def manifest_of_spans(ten: Path, root: Path) -> Path:
    spans = joined(ten, root)
    text = "path\tid\tstart\tend\n" + "".join(f"long.flac\tr{i}\t{a:.6f}\t{b:.6f}\n" for i, (a, b) in enumerate(spans))
    (root / "corpus.tsv.gz").write_bytes(gzip.compress(text.encode()))
    return root / "corpus.tsv.gz"


def nemo(ten: Path, root: Path) -> Path:
    rows = [
        {"audio_filepath": "long.flac", "offset": start, "duration": end - start, "text": "", "id": f"r{i}"}
        for i, (start, end) in enumerate(joined(ten, root))
    ]
    (root / "nemo.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / "nemo.json"


def manifest_parquet(ten: Path, root: Path) -> Path:
    rows = {"path": [str(ten / f"r{i}.wav") for i in range(COUNT)], "id": [f"r{i}" for i in range(COUNT)]}
    pq.write_table(pa.table(rows), root / "corpus.parquet")
    return root / "corpus.parquet"


def kaldi(ten: Path, root: Path) -> Path:
    (root / "data").mkdir()
    spans = joined(ten, root)
    (root / "data" / "wav.scp").write_text(f"long {root / 'long.flac'}\n")
    (root / "data" / "segments").write_text("".join(f"r{i} long {a:.6f} {b:.6f}\n" for i, (a, b) in enumerate(spans)))
    (root / "data" / "utt2spk").write_text("".join(f"r{i} s{i % 3}\n" for i in range(COUNT)))
    return root / "data"


def lhotse(ten: Path, root: Path) -> Path:
    spans = joined(ten, root)
    info = soundfile.info(root / "long.flac")
    recording = {
        "id": "long",
        "sources": [{"type": "file", "channels": [0], "source": "long.flac"}],
        "sampling_rate": 16_000,
        "num_samples": info.frames,
        "duration": info.duration,
        "channel_ids": [0],
    }
    cuts = [
        {
            "id": f"r{i}",
            "start": a,
            "duration": b - a,
            "channel": 0,
            "supervisions": [],
            "recording": recording,
            "type": "MonoCut",
        }
        for i, (a, b) in enumerate(spans)
    ]
    (root / "cuts.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(cut) + "\n" for cut in cuts).encode()))
    return root / "cuts.jsonl.gz"


def webdataset(ten: Path, root: Path) -> Path:
    (root / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(root / "shards" / f"{shard}.tar", "w") as file:
            for i in range(5 * shard, 5 * shard + 5):
                for name, content in ((f"r{i}.wav", (ten / f"r{i}.wav").read_bytes()), (f"r{i}.txt", b"words")):
                    header = tarfile.TarInfo(name)
                    header.size = len(content)
                    file.addfile(header, io.BytesIO(content))
    return root / "shards"


def hugging_face(ten: Path, root: Path) -> Path:
    (root / "data").mkdir()
    audio = [{"bytes": (ten / f"r{i}.wav").read_bytes(), "path": f"r{i}.wav"} for i in range(COUNT)]
    table = pa.table({"audio": pa.array(audio, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})
    pq.write_table(table, root / "data" / "train-00000-of-00001.parquet", row_group_size=4)
    return root / "data"


def glob(ten: Path, root: Path) -> Path:  # noqa: ARG001 -- all take both
    return ten / "r[0-9].*"


def channels(ten: Path, root: Path) -> Path:
    """Writes stereo recordings with the speech in the second channel and noise in the first."""
    (root / "stereo").mkdir()
    for i in range(COUNT):
        speech, rate = soundfile.read(ten / f"r{i}.wav")
        noise = np.random.default_rng(i).normal(0, 0.1, len(speech))
        soundfile.write(root / "stereo" / f"r{i}.wav", np.stack([noise, speech], axis=1), rate)
    return root / "stereo"


def flac(ten: Path, root: Path) -> Path:
    (root / "flac").mkdir()
    for i in range(COUNT):
        soundfile.write(root / "flac" / f"r{i}.flac", *soundfile.read(ten / f"r{i}.wav"))
    return root / "flac"


KINDS: dict[str, tuple[Callable[[Path, Path], Path], list[str]]] = {
    "glob": (glob, []),
    "CSV manifest": (manifest_csv, ["--carry", "speaker"]),
    "spans in a TSV manifest": (manifest_of_spans, []),
    "NeMo": (nemo, ["--carry", "text"]),
    "Parquet manifest": (manifest_parquet, []),
    "Kaldi": (kaldi, ["--carry", "speaker"]),
    "Lhotse": (lhotse, []),
    "WebDataset": (webdataset, []),
    "Hugging Face": (hugging_face, []),
    "a channel": (channels, ["--channels", "1"]),
    "FLAC": (flac, ["--direct_num_workers=2"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_are_the_same(kind, ten, expected, tmp_path):
    make, options = KINDS[kind]
    source = make(ten, tmp_path)
    done = audiosieve("score", "--input", source, "--output", tmp_path / "out", *options)
    assert f"{COUNT} scored, 0 rejected" in done.stdout
    out = Output(tmp_path / "out")
    found = {row["utterance_id"].rpartition("/")[2].partition(".")[0]: row["score"] for row in out.utterances}
    assert found == pytest.approx({f"r{i}": expected[i] for i in range(COUNT)}, abs=TOLERANCE)
    starts = {row["utterance_id"]: row["start_s"] for row in out.utterances}
    if (tmp_path / "long.flac").exists():
        assert starts == pytest.approx({f"r{i}": start for i, (start, _) in enumerate(joined(ten, tmp_path))}, abs=1e-4)
    else:
        assert set(starts.values()) == {0.0}
    if "speaker" in options:
        assert {row["utterance_id"][:2]: row["speaker"] for row in out.utterances} == {
            f"r{i}": f"s{i % 3}" for i in range(COUNT)
        }
    again = audiosieve("score", "--input", source, "--output", tmp_path / "out", *options)
    assert "0 scored, 0 rejected" in again.stdout


def test_a_changed_shard_is_scored_again_and_its_old_rows_are_removed(ten, tmp_path):
    shards = webdataset(ten, tmp_path)
    audiosieve("score", "--input", shards, "--output", tmp_path / "out")
    with tarfile.open(shards / "1.tar", "w") as file:
        file.add(ten / "r5.wav", "r5.wav")
        file.add(ten / "r0.wav", "new.wav")
    done = audiosieve("score", "--input", shards, "--output", tmp_path / "out")
    assert "2 scored, 0 rejected, 1 skipped" in done.stdout
    ids = {row["utterance_id"] for row in Output(tmp_path / "out").utterances}
    assert ids == {*(f"0.tar/r{i}.wav" for i in range(5)), "1.tar/r5.wav", "1.tar/new.wav"}


def test_each_channel_is_an_utterance(ten, tmp_path):
    source = channels(ten, tmp_path)
    done = audiosieve("score", "--input", source, "--output", tmp_path / "out", "--channels", "each")
    assert f"{2 * COUNT} scored" in done.stdout
    rows = Output(tmp_path / "out").utterances
    assert {row["utterance_id"] for row in rows} == {
        f"r{i}.wav#ch{channel}" for i in range(COUNT) for channel in range(2)
    }
    assert all(row["utterance_id"].endswith(f"#ch{row['channel']}") for row in rows)
    assert (
        f"{COUNT} skipped"
        in audiosieve("score", "--input", source, "--output", tmp_path / "out", "--channels", "each").stdout
    )
    other = audiosieve("score", "--input", source, "--output", tmp_path / "out", status=2)
    assert "was written with --channels each" in other.stderr


def test_overwrite_scores_all_recordings_again(ten, tmp_path):
    for options in ([], ["--channels", "first", "--overwrite"]):
        done = audiosieve("score", "--input", ten, "--output", tmp_path / "out", *options)
        assert f"{COUNT} scored" in done.stdout
    assert len(Output(tmp_path / "out").utterances) == COUNT


def test_waves_are_committed_one_by_one(ten, tmp_path):
    audiosieve("score", "--input", ten, "--output", tmp_path / "out", "--wave_hours", "0.0015")
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "_runs").glob("*.json"))]
    assert len(records) > 2
    # Run ids of the same second are in no order.
    assert sorted(record["wave"]["number"] for record in records) == list(range(1, len(records) + 1))
    assert sum(record["counts"]["scored"] for record in records) == COUNT
    assert {record["counts"]["listed"] for record in records} == {COUNT}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--carry", "speakr"], "no column 'speakr'"),
        (["--carry", "score"], "'score' exists already"),
        (["--channels", "left"], "--channels is 'left'"),
        (["--wave_hours", "0"], "--wave_hours is 0; must be over 0"),
    ],
)
def test_wrong_options_are_refused_before_the_work(options, sentence, ten, tmp_path):
    source = manifest_csv(ten, tmp_path)
    done = audiosieve("score", "--input", source, "--output", tmp_path / "out", *options, status=2)
    assert sentence in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_changed_span_is_scored_again(ten, tmp_path):
    manifest = tmp_path / "corpus.csv"
    for end, scored in (("1.0", 1), ("1.0", 0), ("1.25", 1)):
        manifest.write_text(f"id,path,start,end\nu1,{ten / 'r9.wav'},0.5,{end}\n")
        done = audiosieve("score", "--input", manifest, "--output", tmp_path / "out")
        assert f"{scored} scored" in done.stdout
    (row,) = Output(tmp_path / "out").utterances
    assert (row["start_s"], row["duration_s"]) == (0.5, 0.75)


def test_a_damaged_recording_rejects_only_its_own_spans(ten, tmp_path):
    speech = np.random.default_rng(0).normal(0, 0.1, 80 * 16_000)
    soundfile.write(tmp_path / "long.flac", speech, 16_000)
    data = (tmp_path / "long.flac").read_bytes()
    (tmp_path / "long.flac").write_bytes(data[: len(data) // 2])
    rows = [("near", "long.flac", 1, 3), ("far", "long.flac", 70, 72), ("good", ten / "r9.wav", 0, 2)]
    (tmp_path / "corpus.csv").write_text(
        "id,path,start,end\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    )
    done = audiosieve("score", "--input", tmp_path / "corpus.csv", "--output", tmp_path / "out")
    assert "2 scored, 1 rejected" in done.stdout
    assert {row["utterance_id"] for row in Output(tmp_path / "out").utterances} == {"near", "good"}


def test_a_channel_named_by_the_corpus_is_scored(ten, tmp_path):
    channels(ten, tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text(f"rec {next((tmp_path).rglob('r9.wav'))}\n")
    (tmp_path / "data" / "segments").write_text("noise rec 0 -1 0\nspeech rec 0 -1 1\nboth rec 0 -1\n")
    audiosieve("score", "--input", tmp_path / "data", "--output", tmp_path / "out", "--channels", "each")
    found = {row["utterance_id"]: (row["channel"], row["score"]) for row in Output(tmp_path / "out").utterances}
    assert {name: channel for name, (channel, _) in found.items()} == {
        "noise": 0,
        "speech": 1,
        "both#ch0": 0,
        "both#ch1": 1,
    }
    assert found["noise"] == found["both#ch0"]
    assert found["speech"] == found["both#ch1"]
    assert found["speech"][1] > found["noise"][1]


def test_an_unusable_runner_leaves_the_scores(ten, tmp_path):
    audiosieve("score", "--input", ten / "r0.wav", "--output", tmp_path / "out")
    options = ["--input", ten / "r0.wav", "--output", tmp_path / "out", "--runner", "NoSuchRunner"]
    assert "cannot be used" in audiosieve("score", *options, "--overwrite", status=2).stderr
    assert "cannot be used" in audiosieve("score", *options, "--dry_run", status=2).stderr
    assert len(Output(tmp_path / "out").utterances) == 1


def test_a_glob_that_matches_the_output_is_refused(ten, tmp_path):
    done = audiosieve("score", "--input", f"{ten.parent}/**", "--output", ten.parent / "out", status=2)
    assert "lies in --input" in done.stderr
    audiosieve("score", "--input", f"{ten}/r0.*", "--output", tmp_path / "out")
