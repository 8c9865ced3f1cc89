"""`--trim` through the command line: the pieces of a corpus in each form have the words inside them as their text, or none."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import audiosieve
from tests.support.filtered import BAD_MIDDLE, refs_of, rows_of
from tests.support.outputs import scored, write_output
from tests.support.trimmed import (
    CARRY,
    ENTRIES,
    EXPECTED,
    FIRST,
    FIRST_WORDS,
    LENGTH_S,
    PIECES,
    SECOND,
    SECOND_WORDS,
    TEXT,
    WORDS,
    in_csv,
    in_jsonl,
    in_kaldi,
    in_lhotse,
    scored_corpus,
    words_of,
)
from transforms.corpus.listing import ListingOptions
from transforms.corpus.sources import list_corpus, scan_corpus


def trim(source: Path, root: Path, *options: object) -> tuple[Path, str]:
    """Trims a corpus; returns the folder of the selection and what the command printed."""
    output = scored_corpus(list_corpus(str(source), CARRY), source, root / "out")
    done = audiosieve("filter", output, "--output", root / "keep", "--trim", "anomalies", *options)
    return root / "keep", done.stdout


@pytest.mark.parametrize("build", [in_jsonl, in_csv, in_kaldi, in_lhotse])
def test_a_piece_has_a_text_only_with_word_times(audio, tmp_path, build: Callable[[Path, Path], Path]):
    keep, stdout = trim(build(audio, tmp_path), tmp_path)
    rows = {row["utterance_id"]: row for row in rows_of(keep / "kept.parquet")}
    assert {name: row["text"] for name, row in rows.items()} == EXPECTED
    assert {name: json.loads(row["words"]) for name, row in rows.items() if row["words"]} == WORDS
    assert {(row["trimmed"], row["speaker"]) for row in rows.values()} == {(True, "a")}
    assert (
        "6 pieces of trimmed utterances: 2 have the words inside them as their text; 2 have no text, because their word times "
        "cannot be used (see docs/input-formats.md); 2 have no text, because there are no word times; to keep the words, score "
        "a corpus with word times and --carry text,words (see docs/input-formats.md)\n"
    ) in stdout
    record = json.loads((keep / "filter.json").read_text())
    assert record["piece_texts"] == {"bad_times": 2, "no_times": 2, "words": 2}
    # Our own readers find the same in the manifest, which has the form of the corpus.
    manifest = keep / record["manifest"]
    refs = {ref.utterance_id: ref for ref in list_corpus(str(manifest), CARRY)}
    assert {name: ref.columns.get("text") or None for name, ref in refs.items()} == EXPECTED
    again = {name: ref.columns["words"] for name, ref in refs.items() if ref.columns.get("words")}
    assert again.keys() == WORDS.keys()
    for name, words in again.items():
        assert _times(json.loads(words)) == pytest.approx(_times(WORDS[name]), abs=1e-3)


def _times(words: Any) -> list[float]:
    if isinstance(words, dict):
        return [time for _, start, length, _ in words["word"] for time in (start, start + length)]
    return [word[edge] for word in words for edge in ("start", "end")]


def test_lines_for_nemo_and_tables(audio, tmp_path):
    source = in_jsonl(audio, tmp_path)
    keep, _ = trim(source, tmp_path)
    lines = {row["id"]: row for row in map(json.loads, (keep / "manifest.jsonl").read_text().splitlines())}
    first = lines["timed" + PIECES[0]]
    assert (first["text"], first["words"], first["trimmed"], first["offset"]) == (FIRST, FIRST_WORDS, True, 1.0)
    assert not {"text", "words"} & lines["plain" + PIECES[0]].keys()
    for format in ("csv", "tsv", "parquet"):
        audiosieve("filter", tmp_path / "out", "--output", tmp_path / format, "--trim", "anomalies", "--format", format)
        refs = {ref.utterance_id: ref for ref in list_corpus(str(tmp_path / format / f"manifest.{format}"))}
        assert {name: ref.columns["text"] or None for name, ref in refs.items()} == EXPECTED
        assert {ref.columns["trimmed"].lower() for ref in refs.values()} == {"true"}
        assert json.loads(refs["timed" + PIECES[1]].columns["words"]) == SECOND_WORDS


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_no_field_of_a_piece_has_the_text_of_the_whole_utterance(audio, tmp_path, format):
    rows = [json.loads(line) for line in in_jsonl(audio, tmp_path).read_text().splitlines()]
    for row in rows:
        said = row.pop("text")
        timings = [{"token": "one", "begin": 0.5}]
        row |= {
            "timings": timings,
            "asr": {"lang": "en", "turns": timings, "columns": {"start": [0.5]}},
            "ctm": [["one", 0.5, 0.5]],
            "tags": [["a", "b"]],
        }
        row |= {"what was said": said.title(), "wrd": said, "captions": said, "label": said, "gloss": "1 2 3 4 5"}
    source = tmp_path / "corpus.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"text": "what was said"}
    options = ListingOptions(columns=columns, carry=frozenset({"words", "label", "gloss"}))
    items = []
    for ref in scan_corpus(str(source), options).refs:
        item = scored(ref.utterance_id, BAD_MIDDLE, start_s=ref.span.start_s, format="WAV/PCM_16")
        items.append(dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, ref=ref)))
    carry = ["text", "words", "label", "gloss"]
    output = write_output(tmp_path / "out", items, carry=carry, source=str(source), options={"columns": columns})
    keep = tmp_path / "keep"
    audiosieve("filter", output, "--output", keep, "--trim", "anomalies", "--rules", "none", "--format", format)
    assert not {TEXT, TEXT.title()} & {
        value for row in rows_of(keep / "kept.parquet") for value in map(str, row.values())
    }
    with (keep / f"manifest.{format}").open(newline="") as file:
        pieces = list(map(json.loads, file) if format == "jsonl" else csv.DictReader(file))
    for piece in pieces:
        expected = EXPECTED[piece["id"]]
        assert [piece.get(name) or None for name in ("wrd", "captions", "label")] == [expected] * 3
        assert (piece.get("what was said") or "").lower() == (expected or "")
        assert piece["gloss"] == "1 2 3 4 5"
        assert TEXT not in json.dumps(piece).lower()
        nested = {name: piece.get(name) or None for name in ("timings", "ctm", "asr", "tags")}
        if format == "csv":
            nested = {name: value and json.loads(value) for name, value in nested.items()}
        assert nested == {"timings": None, "ctm": None, "asr": {"lang": "en"}, "tags": [["a", "b"]]}


def test_a_kaldi_directory_lists_texts_and_words_of_pieces(audio, tmp_path):
    keep, stdout = trim(in_kaldi(audio, tmp_path), tmp_path)
    first, second = ("timed" + piece for piece in PIECES)
    assert (keep / "kaldi/text").read_text() == f"{first} {FIRST}\n{second} {SECOND}\n"
    assert (keep / "kaldi/ctm").read_text().splitlines() == [
        f"{first} 1 0.500 0.500 one",
        f"{first} 1 1.500 0.500 two",
        f"{second} 1 0.212 0.500 four",
        f"{second} 1 1.712 0.750 five",
    ]
    assert "kaldi/text lacks 4 kept utterances, which have no text; Kaldi's fix_data_dir.sh removes them" in stdout


def test_lhotse_cuts_have_alignments_of_pieces(audio, tmp_path):
    keep, _ = trim(in_lhotse(audio, tmp_path), tmp_path)
    with gzip.open(keep / "cuts.jsonl.gz", "rt") as file:
        cuts = {cut["id"]: cut for cut in map(json.loads, file)}
    (supervision,) = cuts["timed" + PIECES[1]]["supervisions"]
    assert (supervision["text"], supervision["start"]) == (SECOND, 0.0)
    assert supervision["alignment"] == {"word": [["four", 0.212, 0.5, None], ["five", 1.712, 0.75, None]]}
    assert cuts["timed" + PIECES[1]]["custom"]["trimmed"] is True
    assert "words" not in cuts["timed" + PIECES[1]]["custom"]
    (supervision,) = cuts["plain" + PIECES[1]]["supervisions"]
    assert not {"text", "alignment"} & supervision.keys()


@pytest.mark.parametrize("shape", ["manifest", "webdataset"])
def test_exported_samples_of_webdataset_have_the_texts_of_pieces(audio, tmp_path, shape):
    if shape == "manifest":
        source = in_jsonl(audio, tmp_path)
        refs = list_corpus(str(source), CARRY)
    else:
        source = tmp_path / "tars"
        source.mkdir()
        with tarfile.open(source / "s.tar", "w") as tar:
            for path in sorted(audio.iterdir()):
                tar.add(path, path.name)
                metadata = {"text": TEXT, "speaker": "a", "words": words_of(path.stem), "others": [1]}
                (tmp_path / "metadata.json").write_text(json.dumps(metadata))
                tar.add(tmp_path / "metadata.json", f"{path.stem}.json")
        refs = refs_of(source)
        assert all("others" not in ref.columns for ref in refs)
    output = scored_corpus(refs, source, tmp_path / "out")
    options = ["--trim", "anomalies", "--format", "none", "--export", tmp_path / "shards", "--export_format"]
    audiosieve("filter", output, "--output", tmp_path / "keep", *options, "webdataset")
    (shard,) = (tmp_path / "shards").iterdir()
    samples = {}
    with tarfile.open(shard) as tar:
        for name in tar.getnames():
            if name.endswith(".json"):
                sample = json.load(tar.extractfile(name))
                samples[sample["id"].removeprefix("s.tar/").replace(".wav", "")] = sample
    assert {name: sample.get("text") for name, sample in samples.items()} == EXPECTED
    assert {name: sample["words"] for name, sample in samples.items() if "words" in sample} == WORDS
    assert {sample["trimmed"] for sample in samples.values()} == {True}


def test_an_export_lists_the_texts_of_pieces(audio, tmp_path):
    options = ["--export", tmp_path / "audio_of_pieces", "--export_format", "wav"]
    keep, _ = trim(in_jsonl(audio, tmp_path), tmp_path, *options)
    lines = {row["id"]: row for row in map(json.loads, (keep / "manifest.jsonl").read_text().splitlines())}
    assert {name: row.get("text") for name, row in lines.items()} == EXPECTED
    assert {name: row["words"] for name, row in lines.items() if "words" in row} == WORDS
    assert {row["trimmed"] for row in lines.values()} == {True}


def test_whole_utterances_keep_their_texts(audio, tmp_path):
    source = in_jsonl(audio, tmp_path)
    refs = list_corpus(str(source), CARRY)
    items = [scored(ref.utterance_id, 4.0, start_s=1.0, duration_s=LENGTH_S, columns=ref.columns) for ref in refs]
    output = write_output(tmp_path / "out", items, carry=CARRY, source=str(source))
    done = audiosieve("filter", output, "--output", tmp_path / "keep", "--trim", "anomalies")
    assert "pieces" not in done.stdout
    rows = rows_of(tmp_path / "keep/kept.parquet")
    assert {(row["text"], row["trimmed"]) for row in rows} == {(TEXT, False)}
    lines = {row["id"]: row for row in map(json.loads, (tmp_path / "keep/manifest.jsonl").read_text().splitlines())}
    assert (lines["timed"]["words"], lines["timed"]["trimmed"]) == (ENTRIES, False)
    audiosieve("filter", output, "--output", tmp_path / "plain")
    assert "trimmed" not in (tmp_path / "plain/manifest.jsonl").read_text()
