"""Manifests of `audiosieve filter --export` name the exported files, as the loaders of trainers read them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import kaldi_native_io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import webdataset

from tests.pipelines.filtering.test_trimming import (
    EXPECTED,
    PIECES,
    TEXT,
    WORDS,
    audio,
    in_csv,
    in_jsonl,
    in_kaldi,
    in_lhotse,
    scored_corpus,
    words_of,
)
from tests.support.command import audiosieve
from tests.support.filtered import RATE, refs_of, rows_of
from transforms.corpus.sources import list_corpus

__all__ = ["audio"]  # a fixture

# Samples of the pieces in their recordings; the utterances begin after a second.
SPANS = {PIECES[0]: (16_000, 65_600), PIECES[1]: (84_608, 134_016)}
NAMES = [f"{name}_{number:04d}" for name in ("bad", "plain", "timed") for number in (1, 2)]
# The recordings of the corpus in an order that is not that of their ids.
ORDER = ["timed", "bad", "plain"]


def reordered(source: Path) -> Path:
    """Puts the rows of a corpus in the order `ORDER`."""
    opened = gzip.open if source.suffix == ".gz" else Path.open
    with opened(source, "rt") as file:
        lines = file.readlines()
    header = lines[:1] if source.suffix == ".csv" else []
    rows = lines[len(header) :]
    ordered = [next(row for row in rows if f"{name}.wav" in row) for name in ORDER]
    with opened(source, "wt") as file:
        file.writelines([*header, *ordered])
    return source


def exported(source: Path, root: Path, *options: object) -> tuple[Path, Path]:
    """Exports the pieces of a corpus whose utterances have an anomaly; returns the selection and the audio."""
    output = scored_corpus(list_corpus(str(source), ["speaker", "text", "words"]), source, root / "out")
    words = ["--trim", "anomalies", "--rules", "none", "--export", root / "exported", *options]
    audiosieve("filter", output, "--output", root / "keep", *words)
    return root / "keep", root / "exported"


def samples_of(audio: Path, utterance_id: str) -> np.ndarray:
    """The samples that the file of a piece must have: int16 [n]."""
    name, piece = utterance_id.split("#")
    start, end = SPANS[f"#{piece}"]
    return soundfile.read(audio / f"{name}.wav", dtype="int16")[0][start:end]


def ids_in_order() -> list[str]:
    return [f"{name}{piece}" for name in ORDER for piece in PIECES]


def written_ids(manifest: Path, format: str) -> list[str]:
    """The ids of a manifest in its order, without the readers of this package."""
    if format == "parquet":
        return pq.read_table(manifest)["id"].to_pylist()
    if format == "kaldi":
        return [line.split()[0] for line in (manifest / "wav.scp").read_text().splitlines()]
    with gzip.open(manifest, "rt") if format == "lhotse" else manifest.open(encoding="utf-8") as file:
        if format in ("csv", "tsv"):
            return [row["id"] for row in csv.DictReader(file, delimiter="," if format == "csv" else "\t")]
        return [json.loads(line)["id"] for line in file]


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet", "lhotse", "kaldi"])
@pytest.mark.parametrize("build", [in_jsonl, in_csv, in_kaldi, in_lhotse])
def test_the_manifest_names_the_exported_files(audio, tmp_path, build: Callable[[Path, Path], Path], format):
    source = build(audio, tmp_path)
    if build is not in_kaldi:
        reordered(source)
    keep, folder = exported(source, tmp_path, "--format", format, "--export_format", "wav")
    manifest = keep / json.loads((keep / "filter.json").read_text())["manifest"]
    refs = list_corpus(str(manifest), ["text", "words"])
    assert {Path(ref.uri) for ref in refs} == set(folder.iterdir()) == {folder / f"{name}.wav" for name in NAMES}
    for ref in refs:
        assert np.array_equal(soundfile.read(ref.uri, dtype="int16")[0], samples_of(audio, ref.utterance_id))
        # A file has nothing beside its utterance.
        assert ref.span.start_s == 0
    # Kaldi needs the order of ids.
    is_sorted = "kaldi" in (format, source.name) or build is in_kaldi
    assert written_ids(manifest, format) == (sorted(EXPECTED) if is_sorted else ids_in_order())
    assert {ref.utterance_id: ref.columns.get("text") or None for ref in refs} == EXPECTED


def nemo_samples(manifest: Path) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Reads a manifest as NeMo's data sets do, without torch: a line's `offset` and `duration` of `audio_filepath`."""
    for line in manifest.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        start, length = entry.get("offset", 0.0), entry["duration"]
        with soundfile.SoundFile(entry["audio_filepath"]) as sound:
            sound.seek(round(start * sound.samplerate))
            yield entry, sound.read(round(length * sound.samplerate), dtype="int16")


def test_nemo_reads_the_export(audio, tmp_path):
    keep, _ = exported(reordered(in_jsonl(audio, tmp_path)), tmp_path)
    found = list(nemo_samples(keep / "manifest.jsonl"))
    assert [entry["id"] for entry, _ in found] == ids_in_order()
    for entry, samples in found:
        assert np.array_equal(samples, samples_of(audio, entry["id"]))
        assert entry.get("text") == EXPECTED[entry["id"]]
        assert entry.get("words") == WORDS.get(entry["id"])
        assert "offset" not in entry


@pytest.mark.parametrize("build", [in_jsonl, in_kaldi])
def test_kaldi_reads_the_export(audio, tmp_path, build):
    # Kaldi reads WAV files with 16 bits, which are the default for its format.
    keep, _ = exported(build(audio, tmp_path), tmp_path, "--format", "kaldi")
    folder = keep / "kaldi"
    assert not (folder / "segments").exists()
    with kaldi_native_io.SequentialWaveReader(f"scp:{folder}/wav.scp") as reader:
        found = {key: (wave.sample_freq, np.array(wave.data.numpy()[0])) for key, wave in reader}
    assert found.keys() == EXPECTED.keys()
    for key, (rate, samples) in found.items():
        assert rate == RATE
        assert np.array_equal(samples, samples_of(audio, key))
    texts = dict(line.split(" ", 1) for line in (folder / "text").read_text().splitlines())
    assert texts == {key: text for key, text in EXPECTED.items() if text}
    for name in ("wav.scp", "utt2spk", "text"):
        lines = (folder / name).read_bytes().splitlines()
        assert lines == sorted(lines)


def test_kaldi_reads_audio_of_other_resolutions(audio, tmp_path):
    for path in audio.iterdir():
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples * 0.7, rate, "FLOAT")
    keep, _ = exported(in_kaldi(audio, tmp_path), tmp_path)
    with kaldi_native_io.SequentialWaveReader(f"scp:{keep}/kaldi/wav.scp") as reader:
        assert len(dict(reader)) == len(EXPECTED)


def lhotse_samples(manifest: Path) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Reads cuts as Lhotse does, which needs torch: the span of a cut in the file of its recording."""
    with gzip.open(manifest, "rt") as file:
        for line in file:
            cut = json.loads(line)
            recording = cut["recording"]
            (source,) = recording["sources"]
            with soundfile.SoundFile(source["source"]) as sound:
                assert (sound.samplerate, sound.frames) == (recording["sampling_rate"], recording["num_samples"])
                assert list(range(sound.channels)) == recording["channel_ids"]
                sound.seek(round(cut["start"] * sound.samplerate))
                yield cut, sound.read(round(cut["duration"] * sound.samplerate), dtype="int16")


@pytest.mark.parametrize("rate", [None, 8_000])
@pytest.mark.parametrize("build", [in_jsonl, in_lhotse])
def test_lhotse_reads_the_export(audio, tmp_path, build, rate):
    options = ["--sample_rate", rate] if rate else []
    keep, _ = exported(reordered(build(audio, tmp_path)), tmp_path, "--format", "lhotse", *options)
    found = list(lhotse_samples(keep / "cuts.jsonl.gz"))
    assert [cut["id"] for cut, _ in found] == ids_in_order()
    for cut, samples in found:
        expected = samples_of(audio, cut["id"])
        if rate is None:
            assert np.array_equal(samples, expected)
        assert len(samples) == len(expected) * (rate or RATE) // RATE
        (supervision,) = cut["supervisions"]
        assert supervision.get("text") == EXPECTED[cut["id"]]
        assert supervision["recording_id"] == cut["recording"]["id"]


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


def in_hugging_face(audio: Path, root: Path) -> Path:
    rows = []
    for number, path in enumerate(sorted(audio.iterdir())):
        recording = io.BytesIO()
        soundfile.write(
            recording, soundfile.read(path, dtype="int16")[0][16_000 : 16_000 + 118_016], RATE, format="WAV"
        )
        words = words_of(path.stem) if path.stem == "timed" else []
        cells = {"text": TEXT, "label": number % 2, "words": words, "code": number}
        rows.append({"audio": {"bytes": recording.getvalue(), "path": path.name}, **cells})
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


def test_any_corpus_becomes_a_hugging_face_dataset(audio, tmp_path):
    _, folder = exported(in_csv(audio, tmp_path), tmp_path, "--export_format", "parquet", "--shard_size", 4)
    assert len(list(folder.iterdir())) == 2
    rows = {row["id"]: row for row in loaded(folder / "*.parquet", tmp_path)}
    assert {name: row["text"] for name, row in rows.items()} == EXPECTED
    for name, row in rows.items():
        samples = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")[0]
        assert np.array_equal(samples, samples_of(audio, name))
        assert row["speaker"] == "a"


def test_datasets_loads_the_csv_and_json_manifests(audio, tmp_path):
    for kind, name in (("csv", "manifest.csv"), ("json", "manifest.jsonl")):
        root = tmp_path / kind
        root.mkdir()
        format = "jsonl" if kind == "json" else kind
        keep, _ = exported(in_csv(audio, root), root, "--format", format)
        found = datasets.load_dataset(
            kind, data_files=str(keep / name), split="train", cache_dir=str(tmp_path / "cache")
        )
        column = "audio_filepath" if kind == "json" else "path"
        assert {row["id"]: row["text"] for row in found} == EXPECTED
        for row in found:
            assert np.array_equal(soundfile.read(row[column], dtype="int16")[0], samples_of(audio, row["id"]))


def test_the_manifest_of_a_resampled_export_has_its_rate(audio, tmp_path):
    lines = [json.loads(line) for line in in_jsonl(audio, tmp_path).read_text().splitlines()]
    rows = [{**line, "sample_rate": RATE, "num_samples": 118_016} for line in lines]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keep, _ = exported(tmp_path / "corpus.jsonl", tmp_path, "--sample_rate", 8_000)
    for entry, samples in nemo_samples(keep / "manifest.jsonl"):
        assert entry["sample_rate"] == soundfile.info(entry["audio_filepath"]).samplerate == 8_000
        assert "num_samples" not in entry
        assert len(samples) == soundfile.info(entry["audio_filepath"]).frames


def test_an_export_replaces_the_manifest_of_recordings(audio, tmp_path):
    source = in_csv(audio, tmp_path)
    output = scored_corpus(list_corpus(str(source), ["text"]), source, tmp_path / "out")
    words = ["filter", output, "--output", tmp_path / "keep", "--rules", "none", "--format", "kaldi"]
    audiosieve(*words)
    assert (tmp_path / "keep/kaldi/segments").exists()
    audiosieve(*words, "--export", tmp_path / "exported")
    assert not (tmp_path / "keep/kaldi/segments").exists()
    paths = [line.split()[1] for line in (tmp_path / "keep/kaldi/wav.scp").read_text().splitlines()]
    assert set(map(Path, paths)) == set((tmp_path / "exported").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mono"], "--mono is for exported audio; add --export DIR"),
        (["--loudness", "-23"], "--loudness is for exported audio"),
        (["--export", "EXPORTED", "--loudness", "-80"], "must be from -70 to 0"),
        (["--export", "EXPORTED", "--sample_rate", "1"], "must be"),
        (["--export", "EXPORTED", "--export_format", "shar", "--format", "csv"], "needs no manifest; remove --format"),
        (["--export", "EXPORTED", "--export_format", "webdataset", "--format", "csv"], "cannot point into an archive"),
        (["--export", "EXPORTED", "--format", "webdataset"], "can only list recordings in tar archives"),
    ],
)
def test_wrong_options_fail_before_anything_is_written(audio, tmp_path, options, message):
    source = in_csv(audio, tmp_path)
    output = scored_corpus(list_corpus(str(source), ["text"]), source, tmp_path / "out")
    given = [tmp_path / "exported" if option == "EXPORTED" else option for option in options]
    done = audiosieve("filter", output, "--output", tmp_path / "keep", *given, status=2)
    assert message in done.stderr
    assert not (tmp_path / "keep").exists()
    assert not (tmp_path / "exported").exists()


def test_the_csv_of_a_tar_export_lists_its_files(audio, tmp_path):
    source = in_tars(audio, tmp_path)
    output = scored_corpus(refs_of(source), source, tmp_path / "out")
    words = ["--rules", "none", "--format", "csv", "--export", tmp_path / "exported", "--export_format", "flac"]
    audiosieve("filter", output, "--output", tmp_path / "keep", *words)
    with (tmp_path / "keep/manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {str(path) for path in (tmp_path / "exported").rglob("*.flac")}
    assert {row["text"] for row in rows} == {TEXT}
