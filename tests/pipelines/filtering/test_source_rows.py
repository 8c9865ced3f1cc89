"""`audiosieve filter` writes the rows of the corpus back, also for pieces, and says what it cannot."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.command import audiosieve
from tests.support.filtered import BAD_MIDDLE, rows_of
from tests.support.outputs import write_output
from tests.support.paths import ROOT
from tests.support.written_back import utterance_of, write_output_of_rows
from transforms.corpus.source_rows import manifest_versions
from transforms.corpus.sources import list_corpus

# Length of an utterance with an anomaly in its middle, in seconds, and its pieces.
LENGTH_S = 7.376
PIECES = ("#0.000-3.100", "#4.288-7.376")


def lines_of(path: Path) -> list[dict]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def trimmed(source: Path, root: Path, **options) -> tuple[Path, str]:
    """Trims a corpus of utterances with an anomaly in the middle; returns the selection and what was printed."""
    items = [utterance_of(ref, BAD_MIDDLE, duration_s=LENGTH_S) for ref in list_corpus(str(source))]
    output = write_output(root / "out", items, source=str(source), **options)
    done = audiosieve("filter", output, "--output", root / "keep", "--rules", "none", "--trim", "anomalies")
    return root / "keep", done.stdout


ROW = {
    "audio_filepath": "/corpus/b.wav",
    "id": "b",
    "duration": LENGTH_S,
    "offset": 1,
    "text": "One two, three!",
    "text_length": 15,
    "num_words": 3,
    "num_samples": 118_016,
    "words": [
        {"word": "one", "start": 0.5, "end": 1.0},
        {"word": "two", "start": 3.5, "end": 4.0},
        {"word": "three", "start": 5.0, "end": 5.5},
    ],
    "speaker": {"name": "Ann", "age": 31, "notes": [1, 2.0, None, True]},
    "meta": {"raw": {"transcript": "one two three", "lang": "en", "duration": LENGTH_S}},
    "score": 1,
    "x": None,
    "n": 2**60,
}


def test_a_piece_has_the_fields_of_its_utterance_but_those_that_are_untrue(tmp_path):
    keep, stdout = trimmed(write_lines(tmp_path / "corpus/c.jsonl", [ROW]), tmp_path)
    first, second = lines_of(keep / "manifest.jsonl")
    assert (first["id"], second["id"]) == ("b" + PIECES[0], "b" + PIECES[1])
    assert (first["offset"], first["duration"]) == (1.0, 3.1)
    assert (second["offset"], second["duration"]) == (pytest.approx(5.288), pytest.approx(3.088))
    assert (first["text"], second["text"]) == ("One", "three!")
    assert first["words"] == [{"word": "one", "start": 0.5, "end": 1.0}]
    assert second["words"] == [{"word": "three", "start": pytest.approx(0.712), "end": pytest.approx(1.212)}]
    for row in (first, second):
        assert not {"text_length", "num_words", "num_samples"} & row.keys()
        assert row["meta"] == {"raw": {"lang": "en"}}
        assert {name: row[name] for name in ("audio_filepath", "speaker", "score", "x", "n")} == {
            name: ROW[name] for name in ("audio_filepath", "speaker", "score", "x", "n")
        }
        assert isinstance(row["audiosieve_score"], float)
        assert row["trimmed"] is True
    assert "2 pieces of trimmed utterances: 2 have the words inside them as their text" in stdout


def test_a_piece_of_a_parquet_row_keeps_the_types(tmp_path):
    (tmp_path / "corpus").mkdir()
    table = pa.Table.from_pylist([{name: value for name, value in ROW.items() if name != "words"}])
    pq.write_table(table, tmp_path / "corpus/c.parquet")
    keep, _ = trimmed(tmp_path / "corpus/c.parquet", tmp_path)
    after = pq.read_table(keep / "manifest.parquet")
    assert after.schema.field("speaker") == table.schema.field("speaker")
    assert after["n"].to_pylist() == [2**60] * 2
    assert after["text"].to_pylist() == [None, None]
    assert after["offset"].to_pylist() == [1.0, pytest.approx(5.288)]
    assert after["meta"].to_pylist() == [{"raw": {"transcript": None, "lang": "en", "duration": None}}] * 2


def test_a_piece_of_a_cut_has_the_supervisions_inside_it(tmp_path):
    recording = {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": "/corpus/r.wav"}],
        "channel_ids": [0],
    }
    recording |= {"sampling_rate": 16_000, "num_samples": 160_000, "duration": 10.0, "transforms": None}
    spoken = [
        {"id": "s1", "recording_id": "r", "start": 0.0, "duration": 2.5, "channel": 0, "text": "one", "speaker": "a"},
        {
            "id": "s2",
            "recording_id": "r",
            "start": 2.0,
            "duration": 4.0,
            "channel": 0,
            "text": "two three",
            "gender": "f",
        },
        {
            "id": "s3",
            "recording_id": "r",
            "start": 6.5,
            "duration": 0.5,
            "channel": 0,
            "text": "four",
            "custom": {"k": [1]},
        },
    ]
    spoken[1]["alignment"] = {
        "word": [["two", 2.25, 0.5, None], ["three", 5.0, 0.5, 0.5]],
        "phone": [["t", 3.0, 0.5, None]],
    }
    cut = {"id": "c", "start": 1.0, "duration": LENGTH_S, "channel": 0, "supervisions": spoken, "recording": recording}
    source = write_lines(
        tmp_path / "corpus/cuts.jsonl", [{**cut, "type": "MonoCut", "custom": {"snr": 5, "text": "x"}}]
    )
    keep, _ = trimmed(source, tmp_path)
    first, second = lines_of(keep / "cuts.jsonl.gz")
    assert (first["start"], first["duration"], second["start"]) == (1.0, 3.1, pytest.approx(5.288))
    assert first["recording"] == second["recording"] == recording
    assert [(part["id"], part["text"]) for part in first["supervisions"]] == [("s1", "one"), ("s2", "two")]
    assert first["supervisions"][0] == spoken[0]
    part = first["supervisions"][1]
    assert (part["start"], part["duration"], part["gender"]) == (2.0, pytest.approx(1.1), "f")
    assert part["alignment"] == {"word": [["two", 2.25, 0.5, None]]}
    assert [(part["id"], part["text"], part["start"]) for part in second["supervisions"]] == [
        ("s2", "three", 0.0),
        ("s3", "four", pytest.approx(2.212)),
    ]
    assert second["supervisions"][1]["custom"] == {"k": [1]}
    assert first["custom"] == {"snr": 5, "score": first["custom"]["score"], "trimmed": True}


def test_pieces_in_a_kaldi_directory(tmp_path):
    files = {
        "wav.scp": "b /corpus/b.wav\n",
        "utt2spk": "b ann\n",
        "spk2utt": "ann b\n",
        "text": "b One two, three!\n",
        "utt2dur": f"b {LENGTH_S}\n",
        "utt2num_frames": "b 738\n",
        "utt2lang": "b en\n",
        "feats.scp": "b feats.ark:12\n",
        "ctm": "b 1 0.5 0.5 one\nb 1 3.5 0.5 two\nb 1 5.0 0.5 three\n",
        "spk2gender": "ann f\n",
    }
    (tmp_path / "data").mkdir()
    for name, text in files.items():
        (tmp_path / "data" / name).write_text(text)
    keep, _ = trimmed(tmp_path / "data", tmp_path)
    after = {path.name: path.read_text() for path in (keep / "kaldi").iterdir()}
    one, two = ("b" + piece for piece in PIECES)
    assert after["segments"] == f"{one} b 0.000000 3.100000\n{two} b 4.288000 7.376000\n"
    assert after["wav.scp"] == files["wav.scp"]
    assert after["text"] == f"{one} One\n{two} three!\n"
    assert after["utt2spk"] == f"{one} ann\n{two} ann\n"
    assert after["spk2utt"] == f"ann {one} {two}\n"
    assert after["utt2dur"] == f"{one} 3.1\n{two} 3.088\n"
    assert (after["utt2num_frames"], after["feats.scp"]) == ("", "")
    assert after["utt2lang"] == f"{one} en\n{two} en\n"
    assert after["ctm"].splitlines()[0] == f"{one} 1 0.500 0.500 one"
    assert after["spk2gender"] == "ann f\n"


ROWS = [{"path": f"/corpus/{name}.wav", "id": name, "n": {"k": [number]}} for number, name in enumerate("cab")]


def filtered(output: Path, keep: Path) -> str:
    return audiosieve("filter", output, "--output", keep, "--rules", "none").stdout


def test_each_channel_gets_the_fields_of_its_row(tmp_path):
    source = write_lines(tmp_path / "corpus/c.jsonl", ROWS)
    items = []
    for ref in list_corpus(str(source)):
        for channel in (0, 1):
            item = utterance_of(ref, channels=2, channel=channel)
            object.__setattr__(
                item.utterance, "ref", type(ref)(f"{ref.utterance_id}#ch{channel}", *ref.__reduce__()[1][1:])
            )
            items.append(item)
    output = write_output(tmp_path / "out", items, source=str(source), options={"channels": "each"})
    assert "has changed" not in filtered(output, tmp_path / "keep")
    rows = lines_of(tmp_path / "keep/manifest.jsonl")
    assert [(row["id"], row["channel"], row["n"]) for row in rows[:3]] == [
        ("c#ch0", 0, {"k": [0]}),
        ("c#ch1", 1, {"k": [0]}),
        ("a#ch0", 0, {"k": [1]}),
    ]


def test_a_corpus_that_is_gone_is_reported(tmp_path):
    source = write_lines(tmp_path / "corpus/c.jsonl", ROWS)
    output = write_output_of_rows(source, tmp_path / "out", ["n"])
    source.unlink()
    stdout = filtered(output, tmp_path / "keep")
    reason = f"{source} cannot be read any more (there is no such manifest)"
    assert f"{reason}, so the manifest has only the carried columns (n)" in stdout
    assert len(rows_of(tmp_path / "keep/kept.parquet")) == 3


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.parquet"])
def test_rows_that_are_gone_are_listed_with_the_carried_columns(tmp_path, name):
    source = tmp_path / "corpus" / name
    source.parent.mkdir()

    def write(rows: list[dict]) -> None:
        if name == "c.jsonl":
            write_lines(source, rows)
        elif name == "c.parquet":
            pq.write_table(pa.Table.from_pylist(rows), source)
        else:
            source.write_text(
                "path,id,n,m\n" + "".join(f"{row['path']},{row['id']},{row['n']},{row['m']}\n" for row in rows)
            )

    rows = [{"path": f"/corpus/{name}.wav", "id": name, "n": number, "m": "x"} for number, name in enumerate("cab")]
    write(rows)
    versions = manifest_versions(str(source))
    assert list(versions) == [str(source)]
    output = write_output_of_rows(source, tmp_path / "out", ["n"])
    record = next((output / "_runs").glob("*.json"))
    record.write_text(json.dumps(json.loads(record.read_text()) | {"manifests": versions}))
    assert "has changed" not in filtered(output, tmp_path / "same")
    write([rows[2] | {"m": "new"}, rows[0], {**rows[1], "path": "/corpus/other.wav"}])
    stdout = filtered(output, tmp_path / "keep")
    assert f"{source} has changed since it was scored: 1 of the 3 kept utterances are no longer in it" in stdout
    assert "at the end of the manifest with only the carried columns (n); the others have the fields" in stdout
    found = {ref.utterance_id: ref for ref in list_corpus(str(next((tmp_path / "keep").glob("manifest.*"))))}
    order = {"c.jsonl": lines_of, "c.parquet": rows_of}.get(name)
    if order is not None:
        (manifest,) = (tmp_path / "keep").glob("manifest.*")
        assert [row["id"] for row in order(manifest)] == ["b", "c", "a"]
    assert found["a"].uri == "/corpus/a.wav"
    assert {name: (ref.columns["n"], ref.columns.get("m") or None) for name, ref in found.items()} == {
        "b": ("2", "new"),
        "c": ("0", "x"),
        "a": ("1", None),
    }
    write([rows[0] | {"m": "corrected"}, *rows[1:]])
    stdout = filtered(output, tmp_path / "again")
    assert f"{source} has changed since it was scored; the manifest has the fields that it has now" in stdout


DEEP = {
    "is_new": False,
    "age": 12,
    "big": 2**60,
    "tags": ["a", None],
    "meta": {"x": {"y": [1.5]}},
    "mixed": "a",
    "score": 7,
}


def test_another_format_has_all_fields_with_their_types(tmp_path):
    rows = [{**row, **DEEP, "mixed": ["a", 1, None][number]} for number, row in enumerate(ROWS)]
    source = write_lines(tmp_path / "corpus/c.jsonl", rows)
    output = write_output_of_rows(source, tmp_path / "out", ["n"])

    def manifest(output: Path, format: str) -> Path:
        keep = tmp_path / f"keep {output.name} {format}"
        audiosieve("filter", output, "--output", keep, "--rules", "none", "--format", format)
        return next(keep.glob(f"*.{format}*"))

    parquet = manifest(output, "parquet")
    found = {row["id"]: row for row in rows_of(parquet)}
    for row in rows:
        after = found[row["id"]]
        assert {name: after[name] for name in ("n", *DEEP) if name != "mixed"} == {
            name: row[name] for name in ("n", *DEEP) if name != "mixed"
        }
        assert after["audiosieve_score"] == 3.5
    assert {name: row["mixed"] for name, row in found.items()} == {"c": '"a"', "a": "1", "b": None}
    assert '"c","/corpus/c.wav",10' in manifest(output, "csv").read_text()
    again = write_output_of_rows(parquet, tmp_path / "again")
    for row in lines_of(manifest(again, "jsonl")):
        assert (row["big"], row["is_new"], row["meta"], row["score"]) == (2**60, False, DEEP["meta"], 7)
        assert (row["audiosieve_score"], row["audiosieve_score_2"]) == (3.5, 3.5)


def test_pieces_in_another_format_lack_what_is_untrue(tmp_path):
    source = write_lines(tmp_path / "corpus/c.jsonl", [ROW])
    items = [utterance_of(ref, BAD_MIDDLE, duration_s=LENGTH_S) for ref in list_corpus(str(source))]
    output = write_output(tmp_path / "out", items, source=str(source))
    options = ["--rules", "none", "--trim", "anomalies", "--format", "parquet"]
    audiosieve("filter", output, "--output", tmp_path / "keep", *options)
    first, second = rows_of(tmp_path / "keep/manifest.parquet")
    assert (first["text"], second["text"], first["num_words"]) == ("One", "three!", None)
    assert (first["n"], first["speaker"], first["trimmed"]) == (
        2**60,
        '{"name": "Ann", "age": 31, "notes": [1, 2.0, null, true]}',
        True,
    )


def test_a_scored_corpus_keeps_types_and_rows(tmp_path):
    names = ["clean.flac", "noise_20db.flac"]
    rows = [
        {
            "audio_filepath": f"{ROOT}/tests/samples/audio/{name}",
            "n": number,
            "ok": number == 0,
            "meta": {"tags": ["x"], "snr": 1.5},
        }
        | {"mixed": ["a", 1][number], "unnamed": {"deep": [None, 2**60]}}
        for number, name in enumerate(reversed(names))
    ]
    source = write_lines(tmp_path / "corpus/c.jsonl", rows)
    output = tmp_path / "out"
    audiosieve("score", "--input", source, "--output", output, "--carry", "n,ok,meta,mixed", "--direct_num_workers=1")
    table = pq.read_table(output / "utterances")
    kinds = {name: table.schema.field(name).type for name in ("n", "ok", "meta", "mixed")}
    meta = pa.struct([("tags", pa.list_(pa.string())), ("snr", pa.float64())])
    assert kinds == {"n": pa.int64(), "ok": pa.bool_(), "meta": meta, "mixed": pa.string()}
    assert set(table["mixed"].to_pylist()) == {'"a"', "1"}
    done = audiosieve("filter", output, "--output", tmp_path / "keep", "--where", "ok OR meta.snr > 1")
    assert "has changed" not in done.stdout
    lines = (tmp_path / "keep/manifest.jsonl").read_text(encoding="utf-8").splitlines()
    for line, before in zip(lines, source.read_text(encoding="utf-8").splitlines(), strict=True):
        assert line.startswith(before[:-1])
    assert pq.read_table(tmp_path / "keep/kept.parquet").schema.field("meta").type == meta
