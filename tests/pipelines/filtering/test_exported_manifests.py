"""Manifests of `audiosieve filter --export` name the exported files, as the loaders of trainers read them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import kaldi_native_io
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.command import audiosieve
from tests.support.filtered import RATE
from tests.support.trimmed import (
    EXPECTED,
    NAMES,
    PIECES,
    WORDS,
    exported,
    in_csv,
    in_jsonl,
    in_kaldi,
    in_lhotse,
    samples_of,
    scored_corpus,
)
from transforms.corpus.sources import list_corpus

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
