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
from tests.support.filtered import BAD_MIDDLE, RATE, refs_of, rows_of, wav
from tests.support.outputs import scored, write_output
from transforms.corpus.sources import list_corpus
from transforms.elements import AudioRef

# The utterances have 7.376 s; the pieces are 0 to 3.1 s and 4.288 to 7.376 s.
LENGTH_S = 7.376
PIECES = ["#0.000-3.100", "#4.288-7.376"]
CARRY = ["speaker", "text", "words"]
TEXT = "one two three four five"
# The word "three" is cut.
TIMES = [("one", 0.5, 1.0), ("two", 1.5, 2.0), ("three", 3.0, 3.5), ("four", 4.5, 5.0), ("five", 6.0, 6.75)]
ENTRIES = [{"word": word, "start": start, "end": end} for word, start, end in TIMES]
# Texts and words of the pieces.
FIRST, SECOND = "one two", "four five"
FIRST_WORDS = ENTRIES[:2]
SECOND_WORDS = [{"word": "four", "start": 0.212, "end": 0.712}, {"word": "five", "start": 1.712, "end": 2.462}]


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Recordings of 9 s: `timed` has word times, `bad` unusable ones, `plain` none."""
    for seed, name in enumerate(("timed", "bad", "plain")):
        wav(tmp_path / "audio" / f"{name}.wav", 9.0, seed)
    return tmp_path / "audio"


def words_of(name: str) -> Any:
    return {"timed": ENTRIES, "bad": [{"word": "one"}], "plain": None}[name]


def in_jsonl(audio: Path, root: Path) -> Path:
    lines = []
    for path in sorted(audio.iterdir()):
        row = {"audio_filepath": str(path), "id": path.stem, "offset": 1.0, "duration": LENGTH_S, "text": TEXT}
        row |= {"speaker": "a", "words": words_of(path.stem)}
        lines.append(json.dumps({name: value for name, value in row.items() if value is not None}) + "\n")
    (root / "corpus.jsonl").write_text("".join(lines))
    return root / "corpus.jsonl"


def in_csv(audio: Path, root: Path) -> Path:
    with (root / "corpus.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id", "start", "end", "speaker", "text", "words"])
        for path in sorted(audio.iterdir()):
            words = words_of(path.stem)
            writer.writerow([path, path.stem, 1.0, 1.0 + LENGTH_S, "a", TEXT, json.dumps(words) if words else ""])
    return root / "corpus.csv"


def in_kaldi(audio: Path, root: Path) -> Path:
    folder = root / "data"
    folder.mkdir()
    paths = sorted(audio.iterdir())
    tables = {
        "wav.scp": [f"rec-{path.stem} {path}" for path in paths],
        "segments": [f"{path.stem} rec-{path.stem} 1.0 {1.0 + LENGTH_S}" for path in paths],
        "text": [f"{path.stem} {TEXT}" for path in paths],
        "utt2spk": [f"{path.stem} a" for path in paths],
        "ctm": [f"timed 1 {start} {end - start} {word}" for word, start, end in TIMES] + ["bad 1 100.0 0.5 one"],
    }
    for name, lines in tables.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder


def in_lhotse(audio: Path, root: Path) -> Path:
    with gzip.open(root / "cuts.jsonl.gz", "wt") as file:
        for path in sorted(audio.iterdir()):
            source = {"type": "file", "channels": [0], "source": str(path)}
            recording = {"id": path.stem, "sources": [source], "sampling_rate": RATE, "num_samples": 9 * RATE}
            recording |= {"duration": 9.0, "channel_ids": [0]}
            supervision = {"id": path.stem, "recording_id": path.stem, "start": 0.0, "duration": LENGTH_S, "channel": 0}
            supervision |= {"text": TEXT, "speaker": "a"}
            if path.stem != "plain":
                is_timed = path.stem == "timed"
                words = [[word, start, end - start, None] for word, start, end in TIMES] if is_timed else [["one"]]
                supervision["alignment"] = {"word": words, "phone": [["AH", 0.5, 0.1, 0.9]]}
            cut = {"id": path.stem, "start": 1.0, "duration": LENGTH_S, "channel": 0, "supervisions": [supervision]}
            file.write(json.dumps({**cut, "recording": recording, "type": "MonoCut"}) + "\n")
    return root / "cuts.jsonl.gz"


def scored_corpus(refs: list[AudioRef], source: Path, root: Path) -> Path:
    """An output of a corpus whose utterances have an anomaly in the middle."""
    items = []
    for ref in refs:
        item = scored(ref.utterance_id, BAD_MIDDLE, start_s=ref.span.start_s, format="WAV/PCM_16")
        items.append(dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, ref=ref)))
    return write_output(root, items, carry=CARRY, source=str(source))


def trim(source: Path, root: Path, *options: object) -> tuple[Path, str]:
    """Trims a corpus; returns the folder of the selection and what the command printed."""
    output = scored_corpus(list_corpus(str(source), CARRY), source, root / "out")
    done = audiosieve("filter", output, "--output", root / "keep", "--trim", "anomalies", *options)
    return root / "keep", done.stdout


EXPECTED = {f"bad{piece}": None for piece in PIECES} | {f"plain{piece}": None for piece in PIECES}
EXPECTED |= {"timed" + PIECES[0]: FIRST, "timed" + PIECES[1]: SECOND}
WORDS = {"timed" + PIECES[0]: FIRST_WORDS, "timed" + PIECES[1]: SECOND_WORDS}


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
