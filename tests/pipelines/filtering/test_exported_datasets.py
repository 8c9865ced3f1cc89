"""Datasets that `audiosieve filter --export` writes: shards, Lhotse Shar and Parquet, as their own loaders read them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import webdataset

from tests.support.command import audiosieve
from tests.support.filtered import RATE, refs_of, rows_of
from tests.support.trimmed import (
    EXPECTED,
    FIRST,
    NAMES,
    PIECES,
    SECOND,
    TEXT,
    WORDS,
    exported,
    in_csv,
    in_jsonl,
    in_kaldi,
    in_lhotse,
    samples_of,
    scored_corpus,
    words_of,
)


def shar_samples(folder: Path) -> Iterator[tuple[dict[str, Any], np.ndarray, int]]:
    """Reads a Shar as Lhotse does, which needs torch: the n-th cut has the n-th recording of the tar, with the same id."""
    for cuts in sorted(folder.glob("cuts.*.jsonl.gz")):
        number = cuts.name.split(".")[1]
        with gzip.open(cuts, "rt") as lines, tarfile.open(folder / f"recording.{number}.tar") as tar:
            for line in lines:
                cut = json.loads(line)
                header, manifest = tar.next(), tar.next()
                assert header is not None
                assert manifest is not None
                assert (str(Path(header.name).with_suffix("")), manifest.name) == (cut["id"], f"{cut['id']}.json")
                assert json.load(tar.extractfile(manifest)) == cut["recording"]
                samples, rate = soundfile.read(io.BytesIO(tar.extractfile(header).read()), dtype="int16")
                yield cut, samples, rate
            assert tar.next() is None


@pytest.mark.parametrize("build", [in_jsonl, in_kaldi])
def test_a_shar_is_exported(audio, tmp_path, build):
    options = ["--export_format", "shar", "--shard_size", 4]
    keep, folder = exported(build(audio, tmp_path), tmp_path, *options)
    found = list(shar_samples(folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{kind}.{number:06d}.{suffix}"
        for kind, suffix in (("cuts", "jsonl.gz"), ("recording", "tar"))
        for number in (0, 1)
    ]
    assert {cut["id"] for cut, *_ in found} == EXPECTED.keys()
    scores = {row["utterance_id"]: row["score"] for row in rows_of(keep / "kept.parquet")}
    for cut, samples, rate in found:
        assert rate == cut["recording"]["sampling_rate"] == RATE
        assert len(samples) == cut["recording"]["num_samples"]
        assert np.array_equal(samples, samples_of(audio, cut["id"]))
        assert cut["supervisions"][0].get("text") == EXPECTED[cut["id"]]
        assert cut["custom"]["score"] == pytest.approx(scores[cut["id"]], abs=1e-4)
    # Our own reader finds the same utterances.
    assert {ref.utterance_id.rpartition("/")[2].removesuffix(".flac") for ref in refs_of(folder)} == EXPECTED.keys()


@pytest.mark.parametrize("format", ["lhotse", "shar"])
def test_lhotse_itself_reads_the_export(audio, tmp_path, format):
    lhotse = pytest.importorskip("lhotse", reason="lhotse needs torch, which is not installed", exc_type=ImportError)
    options = ["--format", "lhotse"] if format == "lhotse" else ["--export_format", "shar"]
    keep, folder = exported(in_lhotse(audio, tmp_path), tmp_path, *options)
    if format == "lhotse":
        cuts = lhotse.CutSet.from_file(keep / "cuts.jsonl.gz").to_eager()
        lhotse.validate(cuts, read_data=True)
    else:
        cuts = lhotse.CutSet.from_shar(in_dir=folder)
    found = {cut.id: cut.load_audio()[0] for cut in cuts}
    assert found.keys() == EXPECTED.keys()
    for name, samples in found.items():
        assert np.array_equal(np.rint(samples * 2**15), samples_of(audio, name))


def in_tars(audio: Path, root: Path) -> Path:
    """A WebDataset of recordings of 7.376 s with texts, metadata and classes."""
    folder = root / "tars"
    folder.mkdir()
    with tarfile.open(folder / "s.tar", "w") as tar:
        for path in sorted(audio.iterdir()):
            samples = soundfile.read(path, dtype="int16")[0][16_000 : 16_000 + 118_016]
            recording = io.BytesIO()
            soundfile.write(recording, samples, RATE, format="WAV")
            metadata = {"text": TEXT, "words": words_of(path.stem), "score": 7, "nested": {"a": [1]}, "num_samples": 9}
            members = {"cls": b"3", "json": json.dumps(metadata).encode(), "txt": TEXT.encode()}
            for suffix, content in {"cls": members["cls"], "wav": recording.getvalue(), **members}.items():
                header = tarfile.TarInfo(f"x/{path.stem}.{suffix}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    return folder


def samples_in(folder: Path) -> dict[str, dict[str, Any]]:
    tars = sorted(map(str, folder.glob("*.tar")))
    found = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)
    return {sample["__key__"]: sample for sample in found}


def test_a_shard_has_the_other_members_of_whole_samples(audio, tmp_path):
    source = in_tars(audio, tmp_path)
    output = scored_corpus(refs_of(source), source, tmp_path / "out")
    options = ["--rules", "none", "--export", tmp_path / "shards", "--export_format", "webdataset"]
    audiosieve("filter", output, "--output", tmp_path / "keep", *options)
    before, after = samples_in(source), samples_in(tmp_path / "shards")
    assert {key.removeprefix("s.tar/") for key in after} == before.keys()
    for key, sample in after.items():
        original = before[key.removeprefix("s.tar/")]
        for suffix in ("wav", "txt", "cls"):
            assert sample[suffix] == original[suffix]
        metadata = json.loads(sample["json"])
        assert json.loads(original["json"]).items() <= metadata.items()
        assert metadata["audiosieve_score"] < 4
        assert metadata["id"] == f"s.tar/{key.removeprefix('s.tar/')}.wav"
    index = [json.loads(line) for line in (tmp_path / "keep/index.jsonl").read_text().splitlines()]
    assert {(row["url"], row["key"]) for row in index} == {
        (str(tmp_path / "shards/shard-000000.tar"), key) for key in after
    }


def test_a_shard_has_the_texts_of_pieces(audio, tmp_path):
    source = in_tars(audio, tmp_path)
    output = scored_corpus(refs_of(source), source, tmp_path / "out")
    options = ["--trim", "anomalies", "--rules", "none", "--export", tmp_path / "shards"]
    audiosieve("filter", output, "--output", tmp_path / "keep", *options, "--export_format", "webdataset")
    found = samples_in(tmp_path / "shards")
    assert found.keys() == {f"s.tar/x/{name}" for name in NAMES}
    for sample in found.values():
        metadata = json.loads(sample["json"])
        utterance_id = metadata["id"].removeprefix("s.tar/x/").replace(".wav", "")
        assert metadata.get("text") == EXPECTED[utterance_id]
        assert metadata.get("words") == WORDS.get(utterance_id)
        assert sample.get("txt", b"").decode() == (EXPECTED[utterance_id] or "")
        assert sample["cls"] == b"3"
        assert "num_samples" not in metadata
        length = soundfile.info(io.BytesIO(sample["flac"])).duration
        assert metadata["duration"] == pytest.approx(length)


def test_a_shard_has_no_transcript_of_the_whole_utterance_for_a_piece(audio, tmp_path):
    (tmp_path / "in").mkdir()
    recording = wav_bytes(audio / "timed.wav")
    words = json.dumps({"asr": {"text": TEXT}, "text": TEXT, "words": words_of("timed"), "lang": "en"}).encode()
    segments = json.dumps([{"text": TEXT, "start": 0.0, "id": 7}]).encode()
    subtitles = f"1\n00:00:00,000 --> 00:00:07,000\n{TEXT}\n".encode()
    members = {"wav": recording, "whisper.json": words, "segments.json": segments, "srt": subtitles, "x.TextGrid": b"x"}
    with tarfile.open(tmp_path / "in/s.tar", "w") as tar:
        for suffix, content in members.items():
            header = tarfile.TarInfo(f"timed.{suffix}")
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    output = scored_corpus(refs_of(tmp_path / "in"), tmp_path / "in", tmp_path / "out")
    options = ["--rules", "none", "--export_format", "webdataset"]
    whole = ["--output", tmp_path / "keep0", "--export", tmp_path / "whole"]
    audiosieve("filter", output, *whole, *options)
    (sample,) = samples_in(tmp_path / "whole").values()
    assert {suffix: sample[suffix] for suffix in ("srt", "whisper.json", "segments.json")} == {
        suffix: members[suffix] for suffix in ("srt", "whisper.json", "segments.json")
    }
    audiosieve(
        "filter", output, "--output", tmp_path / "keep", "--export", tmp_path / "x", "--trim", "anomalies", *options
    )
    for sample, text in zip(samples_in(tmp_path / "x").values(), (FIRST, SECOND), strict=True):
        assert not {"srt", "x.textgrid", "x.TextGrid"} & sample.keys()
        assert json.loads(sample["whisper.json"])["text"] == text
        assert json.loads(sample["whisper.json"])["lang"] == "en"
        assert TEXT not in sample["whisper.json"].decode()
        assert json.loads(sample["segments.json"]) == []


def loaded(pattern: Path, root: Path) -> datasets.Dataset:
    """Loads Parquet files with `datasets`. Its decoder of audio needs torch, so the audio stays encoded."""
    found = datasets.load_dataset("parquet", data_files=str(pattern), split="train", cache_dir=str(root / "cache"))
    return found.cast_column("audio", datasets.Audio(decode=False))


FEATURES = datasets.Features(
    {
        "audio": datasets.Audio(sampling_rate=RATE),
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["no", "yes"]),
        "words": [
            {"word": datasets.Value("string"), "start": datasets.Value("float64"), "end": datasets.Value("float64")}
        ],
        "code": datasets.Value("int16"),
    }
)


def wav_bytes(path: Path) -> bytes:
    """A recording of 7.376 s, as WAV."""
    recording = io.BytesIO()
    soundfile.write(recording, soundfile.read(path, dtype="int16")[0][16_000 : 16_000 + 118_016], RATE, format="WAV")
    return recording.getvalue()


def in_hugging_face(audio: Path, root: Path) -> Path:
    rows = []
    for number, path in enumerate(sorted(audio.iterdir())):
        words = words_of(path.stem) if path.stem == "timed" else []
        cells = {"text": TEXT, "label": number % 2, "words": words, "code": number}
        rows.append({"audio": {"bytes": wav_bytes(path), "path": path.name}, **cells})
    (root / "hf").mkdir()
    # Dataset.from_list would need torchcodec.
    datasets.Dataset(pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema)).to_parquet(root / "hf/train.parquet")
    return root / "hf"


@pytest.mark.parametrize("options", [(), ("--trim", "anomalies"), ("--sample_rate", 8_000)], ids=str)
def test_a_hugging_face_export_has_the_features_of_the_corpus(audio, tmp_path, options):
    source = in_hugging_face(audio, tmp_path)
    output = scored_corpus(refs_of(source), source, tmp_path / "out")
    words = ["--rules", "none", "--export", tmp_path / "exported", "--export_format", "parquet", *options]
    audiosieve("filter", output, "--output", tmp_path / "keep", *words)
    found = loaded(tmp_path / "exported/*.parquet", tmp_path)
    before = loaded(source / "*.parquet", tmp_path)
    new = {"id", "score", "duration", *(["trimmed"] if "--trim" in options else [])}
    assert set(found.features) == {*FEATURES, *new}
    assert {name: found.features[name] for name in FEATURES if name != "audio"} == {
        name: before.features[name] for name in FEATURES if name != "audio"
    }
    schema = pq.read_schema(tmp_path / "exported/data-000000.parquet")
    declared = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["audio"]
    assert declared["sampling_rate"] == (8_000 if "--sample_rate" in options else RATE)
    rows = {row["id"].removeprefix("train.parquet/").replace(".wav", ""): row for row in found}
    if "--trim" in options:
        assert {name: row["text"] for name, row in rows.items() if "timed" in name} == {
            name: text for name, text in EXPECTED.items() if "timed" in name
        }
    for name, row in rows.items():
        original = next(other for other in before if other["audio"]["path"].startswith(name.partition("#")[0]))
        assert (row["label"], row["code"]) == (original["label"], original["code"])
        samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")
        assert rate == declared["sampling_rate"]
        assert len(samples) == round(row["duration"] * rate)
        if not options:
            assert row["audio"]["bytes"] == original["audio"]["bytes"]
            assert row["text"] == TEXT


def test_a_piece_never_stands_beside_another_whole_recording(audio, tmp_path):
    near, far = (wav_bytes(path) for path in sorted(audio.iterdir())[:2])
    (tmp_path / "hf").mkdir()
    rows = [{"id": "a", "near": {"bytes": near, "path": "n.wav"}, "far": {"bytes": far, "path": "f.wav"}}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hf/t.parquet")
    output = scored_corpus(refs_of(tmp_path / "hf"), tmp_path / "hf", tmp_path / "out")
    for name, options in (("whole", ()), ("pieces", ("--trim", "anomalies"))):
        words = ["--rules", "none", "--export", tmp_path / name, "--export_format", "parquet", *options]
        audiosieve("filter", output, "--output", tmp_path / f"keep_{name}", *words)
    whole = {row["audiosieve_id"]: row for row in rows_of(tmp_path / "whole/data-000000.parquet")}
    assert {name: (row["near"]["bytes"], row["far"]["bytes"]) for name, row in whole.items()} == {
        "t.parquet/a/near": (near, far),
        "t.parquet/a/far": (near, far),
    }
    pieces = {row["audiosieve_id"]: row for row in rows_of(tmp_path / "pieces/data-000000.parquet")}
    assert pieces.keys() == {f"t.parquet/a/{column}{piece}" for column in ("near", "far") for piece in PIECES}
    for name, row in pieces.items():
        own, other = ("near", "far") if "near" in name else ("far", "near")
        assert len(soundfile.read(io.BytesIO(row[own]["bytes"]))[0]) == round(row["duration"] * RATE)
        assert row[other] is None


def test_any_corpus_becomes_a_hugging_face_dataset(audio, tmp_path):
    _, folder = exported(in_csv(audio, tmp_path), tmp_path, "--export_format", "parquet", "--shard_size", 4)
    assert len(list(folder.iterdir())) == 2
    rows = {row["id"]: row for row in loaded(folder / "*.parquet", tmp_path)}
    assert {name: row["text"] for name, row in rows.items()} == EXPECTED
    for name, row in rows.items():
        samples = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")[0]
        assert np.array_equal(samples, samples_of(audio, name))
        assert row["speaker"] == "a"


def test_the_csv_of_a_tar_export_lists_its_files(audio, tmp_path):
    source = in_tars(audio, tmp_path)
    output = scored_corpus(refs_of(source), source, tmp_path / "out")
    words = ["--rules", "none", "--format", "csv", "--export", tmp_path / "exported", "--export_format", "flac"]
    audiosieve("filter", output, "--output", tmp_path / "keep", *words)
    with (tmp_path / "keep/manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {str(path) for path in (tmp_path / "exported").rglob("*.flac")}
    assert {row["text"] for row in rows} == {TEXT}
