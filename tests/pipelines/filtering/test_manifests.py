"""Manifests of `audiosieve filter` have the format of the corpus, or the one that is requested."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.command import audiosieve
from tests.support.filtered import (
    BAD_MIDDLE,
    RATE,
    ids_of,
    write_corpus,
    write_output_of,
    write_small_output,
    write_tar,
)
from tests.support.outputs import scored, write_output
from transforms.corpus.sources import list_corpus

# All recordings but the second and the fifth are kept.
SCORES = [4.0, 1.0, 4.0, 4.0, 1.0, 4.0]


@pytest.fixture(scope="module")
def audio(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "audio")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return write_small_output(tmp_path_factory.mktemp("small") / "out")


def in_csv(audio: Path, root: Path) -> Path:
    with (root / "corpus.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "speaker"])
        writer.writerows([f"u{n}", path, path.parent.name] for n, path in enumerate(sorted(audio.rglob("*.wav"))))
    return root / "corpus.csv"


def in_tsv_of_spans(audio: Path, root: Path) -> Path:
    lines = [
        "path\tstart\tend",
        *(f"{path}\t{n * 0.05:.3f}\t0.9" for n, path in enumerate(sorted(audio.rglob("*.wav")))),
    ]
    (root / "corpus.tsv").write_text("\n".join(lines) + "\n")
    return root / "corpus.tsv"


def in_nemo(audio: Path, root: Path) -> Path:
    rows = [{"audio_filepath": str(path), "duration": 1.0, "text": "x"} for path in sorted(audio.rglob("*.wav"))]
    (root / "train.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / "train.json"


def in_kaldi(audio: Path, root: Path) -> Path:
    (root / "data").mkdir()
    paths = sorted(audio.rglob("*.wav"))
    (root / "data/wav.scp").write_text("".join(f"rec{n} {path}\n" for n, path in enumerate(paths)))
    (root / "data/segments").write_text("".join(f"utt{n} rec{n} 0.25 0.75\n" for n in range(len(paths))))
    return root / "data"


def in_lhotse(audio: Path, root: Path) -> Path:
    rows = []
    for n, path in enumerate(sorted(audio.rglob("*.wav"))):
        info = soundfile.info(path)
        source = {"type": "file", "channels": [0], "source": str(path)}
        recording = {
            "id": f"r{n}",
            "sources": [source],
            "sampling_rate": RATE,
            "num_samples": info.frames,
            "duration": info.duration,
            "channel_ids": [0],
        }
        rows.append(
            {"id": f"c{n}", "start": 0.5, "duration": 0.5, "channel": 0, "recording": recording, "type": "MonoCut"}
        )
    (root / "cuts.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return root / "cuts.jsonl.gz"


def in_parquet(audio: Path, root: Path) -> Path:
    pq.write_table(pa.table({"path": [str(path) for path in sorted(audio.rglob("*.wav"))]}), root / "corpus.parquet")
    return root / "corpus.parquet"


def in_a_list(audio: Path, root: Path) -> Path:
    (root / "corpus.txt").write_text("".join(f"{path}\n" for path in sorted(audio.rglob("*.wav"))))
    return root / "corpus.txt"


KINDS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "directory": (lambda audio, _: audio, "paths.txt"),
    "glob": (lambda audio, _: audio / "*" / "*.wav", "paths.txt"),
    "list": (in_a_list, "paths.txt"),
    "csv": (in_csv, "manifest.csv"),
    "tsv": (in_tsv_of_spans, "manifest.tsv"),
    "nemo": (in_nemo, "manifest.jsonl"),
    "parquet": (in_parquet, "manifest.parquet"),
    "kaldi": (in_kaldi, "kaldi"),
    "lhotse": (in_lhotse, "cuts.jsonl.gz"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_has_the_format_of_the_corpus(audio, tmp_path, kind):
    make, name = KINDS[kind]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    source = make(audio, corpus)
    output = write_output_of(source, tmp_path / "out", SCORES)
    keep = tmp_path / "keep"
    audiosieve("filter", output, "--output", keep)
    before, after = list_corpus(str(source)), list_corpus(str(keep / name))
    kept = [ref for place, ref in enumerate(before) if place not in (1, 4)]
    if name == "paths.txt":  # a list of paths has no ids
        assert [ref.uri for ref in after] == [ref.uri for ref in kept]
        return
    assert [(ref.utterance_id, ref.uri) for ref in after] == [(ref.utterance_id, ref.uri) for ref in kept]
    for ref, other in zip(after, kept, strict=True):
        assert ref.span.start_s == pytest.approx(other.span.start_s, abs=1e-6)
        assert ref.span.end_s == pytest.approx(other.span.end_s, abs=1e-6)


def test_the_manifest_of_tars_is_an_index(audio, tmp_path):
    output = write_output_of(write_tar(audio, tmp_path / "tars"), tmp_path / "out", SCORES)
    audiosieve("filter", output, "--output", tmp_path / "keep")
    rows = [json.loads(line) for line in (tmp_path / "keep/index.jsonl").read_text().splitlines()]
    assert {Path(row["url"]).name for row in rows} == {"s.tar"}
    assert [row["key"] for row in rows] == ["s0/r0", "s0/r4", "s1/r1", "s1/r5"]
    done = audiosieve("filter", output, "--output", tmp_path / "csv", "--format", "csv", status=2)
    assert "cannot point into an archive" in done.stderr


def test_the_manifest_of_a_deleted_corpus_is_in_csv(small, tmp_path):
    audiosieve("filter", small, "--output", tmp_path / "keep")
    refs = list_corpus(str(tmp_path / "keep/manifest.csv"))
    assert [ref.utterance_id for ref in refs] == ids_of(tmp_path / "keep/kept.parquet")
    assert refs[0].span.end_s == 4.0
    assert refs[0].columns["speaker"] == "a"


def test_a_format_or_no_manifest_is_requested(small, tmp_path):
    audiosieve("filter", small, "--output", tmp_path / "kaldi", "--format", "kaldi")
    assert (tmp_path / "kaldi/kaldi/spk2utt").read_text() == "a a1 a2 a3\nb b1 b2 b3\n"
    audiosieve("filter", small, "--output", tmp_path / "none", "--format", "none")
    assert sorted(path.name for path in (tmp_path / "none").iterdir()) == [
        "dropped.parquet",
        "filter.json",
        "kept.parquet",
    ]


def test_another_format_is_used_with_the_reason_if_that_of_the_corpus_cannot_list_spans(audio, tmp_path):
    item = scored("s0/r0.wav", BAD_MIDDLE, uri=f"{audio}/s0/r0.wav")
    output = write_output(tmp_path / "out", [item], source=str(audio))
    keep = tmp_path / "keep"
    done = audiosieve("filter", output, "--output", keep, "--trim", "anomalies", "--where", "true")
    reason = "paths cannot list spans of a recording; this concerns 2 of the kept utterances, for example "
    assert f"{reason}'s0/r0.wav#0.000-3.100'; so the manifest is in csv" in done.stdout
    assert [ref.utterance_id for ref in list_corpus(str(keep / "manifest.csv"))] == ids_of(keep / "kept.parquet")


def test_the_manifest_of_a_folder_with_carried_columns_holds_them(audio, tmp_path):
    item = scored("s0/r0.wav", 4.0, uri=f"{audio}/s0/r0.wav", columns={"text": "good morning"})
    output = write_output(tmp_path / "out", [item], carry=["text"], source=str(audio))
    keep = tmp_path / "keep"
    done = audiosieve("filter", output, "--output", keep)
    assert "paths cannot hold the carried columns (text); so the manifest is in csv" in done.stdout
    (row,) = csv.DictReader((keep / "manifest.csv").read_text().splitlines())
    assert row["text"] == "good morning"
    audiosieve("filter", output, "--output", tmp_path / "paths", "--format", "paths")
    assert (tmp_path / "paths" / "paths.txt").read_text() == f"{audio}/s0/r0.wav\n"


def test_without_a_format_there_is_no_manifest_and_the_reason_is_printed(tmp_path):
    item = scored("x.parquet/1", 4.0, uri="/data/x.parquet#1")
    done = audiosieve("filter", write_output(tmp_path / "out", [item]), "--output", tmp_path / "keep")
    assert "webdataset can only list recordings in tar archives" in done.stdout
    assert "so there is no manifest" in done.stdout
    assert json.loads((tmp_path / "keep/filter.json").read_text())["manifest"] is None


def test_columns_that_the_manifest_lacks_are_named(tmp_path):
    columns = {"speaker": "s", "offset": "7"}
    output = write_output(tmp_path / "out", [scored("a", 4.0, columns=columns)], carry=list(columns))
    done = audiosieve("filter", output, "--output", tmp_path / "keep")
    assert "the manifest lacks offset" in done.stdout
