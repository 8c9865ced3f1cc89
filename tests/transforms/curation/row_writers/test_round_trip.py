"""A filter that drops nothing writes the manifest of the corpus back, with new columns."""

from __future__ import annotations

import csv
import gzip
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.written_back import written_back
from transforms.curation.rules import where

NEW = {"id", "duration", "score"}
EXAMPLES = settings(max_examples=20, deadline=None)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KEYS = st.one_of(
    TEXTS, st.sampled_from(["", "a.b", 'a"b', "a'b", "select", "rules", "place", "score", "Score", "channel", "ü"])
)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20), st.sampled_from([2**53 + 1, -(2**63), 2**64]), st.floats(allow_nan=False)
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
USED = {
    "path",
    "audio_filepath",
    "audio",
    "file",
    "wav",
    "id",
    "utterance_id",
    "start",
    "start_s",
    "offset",
    "end",
    "end_s",
}
FIELDS = st.dictionaries(KEYS.filter(lambda key: key not in {*USED, "duration"}), VALUES, max_size=5)


def same(value: Any, other: Any) -> bool:
    """Whether two values are the same, with their types."""
    if isinstance(value, dict):
        return (
            isinstance(other, dict)
            and list(value) == list(other)
            and all(same(value[key], other[key]) for key in value)
        )
    if isinstance(value, list):
        return isinstance(other, list) and len(value) == len(other) and all(map(same, value, other))
    return type(value) is type(other) and value == other


@st.composite
def objects(draw) -> list[dict[str, Any]]:
    rows = []
    for number in range(draw(st.integers(1, 4))):
        row: dict[str, Any] = {"audio_filepath": f"/corpus/{9 - number}.wav", **draw(FIELDS)}
        if draw(st.booleans()):
            row = {"id": draw(st.sampled_from([f"utt {number}", number])), **row}
        if draw(st.booleans()):
            row |= {"offset": draw(st.integers(0, 3) | st.floats(0, 3)), "duration": draw(st.integers(1, 4))}
        rows.append(row)
    return rows


@EXAMPLES
@given(objects(), st.sampled_from([None, (",", ":")]), st.booleans())
def test_json_lines(rows, separators, is_ascii):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "corpus.jsonl"
        source.write_text(
            "".join(f"{json.dumps(row, separators=separators, ensure_ascii=is_ascii)}\n" for row in rows),
            encoding="utf-8",
        )
        lines = written_back(source, lambda path: path.read_text(encoding="utf-8").split("\n"))
        assert lines.pop() == ""
        assert len(lines) == len(rows)
        for line, before, row in zip(lines, source.read_text(encoding="utf-8").split("\n"), rows, strict=False):
            assert line.startswith(before[:-1])
            after = json.loads(line)
            assert same({name: after[name] for name in row}, row)
            assert {name.removeprefix("audiosieve_") for name in after.keys() - row.keys()} <= {*NEW, "score_2"}
            scores = [value for name, value in after.items() if name not in row and "score" in name]
            assert scores == [3.5]


def test_numbers_keep_their_text(tmp_path):
    source = tmp_path / "corpus.jsonl"
    source.write_text('{"path": "/a.wav", "n": 1.10, "m": 1e400, "k": 12345678901234567890, "s": "\\ud800", "n": 2}\n')
    (line, _) = written_back(source, lambda path: path.read_text().split("\n"))
    assert line.startswith(
        '{"path": "/a.wav", "n": 1.10, "m": 1e400, "k": 12345678901234567890, "s": "\\ud800", "n": 2, '
    )


CELLS = st.one_of(
    TEXTS, st.sampled_from(["", " ", "a,b", 'a"b', "a\nb", "a\rb", "a\r\nb", "1.50", "007", "false", "\ufeff", "'"])
)
NAMES = st.lists(KEYS.filter(lambda key: key not in {*USED, "duration"}), max_size=4, unique=True)


@EXAMPLES
@given(NAMES, st.data())
def test_csv(names, data):
    rows = [
        [f"/corpus/{9 - number}.wav", *(data.draw(CELLS) for _ in names)]
        for number in range(data.draw(st.integers(1, 4)))
    ]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "corpus.csv"
        with source.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["path", *names], *rows])

        def read(path: Path) -> list[list[str]]:
            with path.open(encoding="utf-8", newline="") as file:
                return list(csv.reader(file))

        header, *after = read_all = written_back(source, read)
        assert header[: 1 + len(names)] == ["path", *names], read_all
        assert [row[: 1 + len(names)] for row in after] == rows
        assert len({name.lower() for name in header[1 + len(names) :]} | {name.lower() for name in names}) >= 3
        new = dict(zip(header, after[0], strict=True))
        taken = {name.lower() for name in names}
        assert new["audiosieve_score" if "score" in taken else "score"] == "3.5"


@EXAMPLES
@given(
    NAMES.map(lambda names: [" ".join(name.split()) for name in names]).filter(lambda n: len(set(n)) == len(n)),
    st.data(),
)
def test_tsv(names, data):
    cells = CELLS.map(lambda text: " ".join(text.splitlines()).replace("\t", " ").replace("\0", ""))
    rows = [
        [f"/corpus/{9 - number}.wav", *(data.draw(cells) for _ in names)]
        for number in range(data.draw(st.integers(1, 4)))
    ]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "corpus.tsv"
        text = "".join("\t".join(row) + "\n" for row in [["path", *names], *rows])
        source.write_bytes(text.encode())
        after = written_back(source, lambda path: path.read_bytes().decode().split("\n"))
        assert after.pop() == ""
        assert [line.split("\t")[: 1 + len(names)] for line in after] == [["path", *names], *rows]


TYPES = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int16(): st.integers(-9, 9),
    pa.float64(): st.floats(allow_nan=False),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): TEXTS,
    pa.large_string(): TEXTS,
    pa.binary(): st.binary(max_size=4),
    pa.timestamp("us"): st.datetimes(),
    pa.list_(pa.struct([("a.b", pa.string()), ('"', pa.int8())])): st.lists(
        st.fixed_dictionaries({"a.b": TEXTS | st.none(), '"': st.integers(-9, 9)}), max_size=2
    ),
    pa.dictionary(pa.int32(), pa.string()): TEXTS,
    pa.map_(pa.string(), pa.int64()): st.lists(st.tuples(TEXTS, st.integers(0, 9)), max_size=2),
}


@EXAMPLES
@given(
    st.dictionaries(
        KEYS.filter(lambda key: key and key not in {*USED, "duration"}), st.sampled_from(list(TYPES)), max_size=4
    ),
    st.data(),
)
def test_parquet(columns, data):
    count = data.draw(st.integers(1, 4))
    schema = pa.schema([("path", pa.string()), *columns.items()], {"own": "metadata"})
    arrays = [pa.array([f"/corpus/{9 - number}.wav" for number in range(count)])]
    for kind in columns.values():
        values = data.draw(st.lists(TYPES[kind] | st.none(), min_size=count, max_size=count))
        arrays.append(
            pa.array(values, kind.value_type).cast(kind) if pa.types.is_dictionary(kind) else pa.array(values, kind)
        )
    table = pa.Table.from_arrays(arrays, schema=schema)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "corpus.parquet"
        pq.write_table(table, source)
        before, after = pq.read_table(source), written_back(source, pq.read_table)
        assert after.schema.metadata[b"own"] == b"metadata"
        assert after.select(list(range(len(schema)))).equals(before)
        assert {name.removeprefix("audiosieve_") for name in after.schema.names[len(schema) :]} == NEW


@st.composite
def cuts(draw) -> list[dict[str, Any]]:
    rows = []
    for number in range(draw(st.integers(1, 3))):
        path = f"/corpus/{9 - number}.wav"
        recording = {
            "id": draw(TEXTS),
            "sources": [{"type": "file", "channels": [0, 1], "source": path}],
            "sampling_rate": 16_000,
            "num_samples": 160_000,
            "duration": 10.0,
            "channel_ids": [0, 1],
            "transforms": draw(st.sampled_from([None, []])),
        }
        spoken = [
            {
                "id": draw(TEXTS),
                "recording_id": recording["id"],
                "start": 0.5,
                "duration": 2,
                "channel": [0, 1],
                "text": draw(TEXTS),
                "gender": "f",
                "alignment": {"phone": [["a", 0.5, 0.25, None]], "word": [["ab", 0.5, 0.5, 0.9]]},
                "custom": draw(FIELDS),
            }
            for _ in range(draw(st.integers(0, 3)))
        ]
        row = {"id": f"cut-{number}", "start": draw(st.integers(0, 2)), "duration": 4.5, "channel": [0, 1]}
        row |= {"supervisions": spoken, "recording": recording, "type": "MultiCut", "features": draw(st.none())}
        rows.append(row | draw(st.sampled_from([{}, {"custom": None}, {"custom": {"score": 1, "x": {"y": [1.0]}}}])))
    return rows


@EXAMPLES
@given(cuts())
def test_lhotse(rows):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "cuts.jsonl.gz"
        source.write_bytes(gzip.compress("".join(f"{json.dumps(row)}\n" for row in rows).encode()))
        lines = written_back(source, lambda path: gzip.decompress(path.read_bytes()).decode().split("\n")[:-1])
        has_score = any("score" in (row.get("custom") or {}) for row in rows)
        for line, row in zip(lines, rows, strict=True):
            after = json.loads(line)
            custom = after.pop("custom")
            own = row.pop("custom", None) or {}
            assert same(after, row)
            assert custom == {**own, "audiosieve_score" if has_score else "score": 3.5}


def test_a_recording_of_lhotse_keeps_all_its_fields(tmp_path):
    source = {"type": "file", "channels": [0], "source": "audio/a.wav"}
    recording = {"id": "r", "sources": [source], "sampling_rate": 8_000, "num_samples": 80_000, "duration": 10.0}
    recording |= {"channel_ids": [0], "transforms": None}
    (tmp_path / "recordings.jsonl").write_text(json.dumps(recording) + "\n")
    (line,) = written_back(
        tmp_path / "recordings.jsonl", lambda path: gzip.decompress(path.read_bytes()).decode().splitlines()
    )
    cut = json.loads(line)
    source["source"] = f"{tmp_path}/audio/a.wav"
    assert same(cut["recording"], recording)
    assert (cut["id"], cut["start"], cut["duration"], cut["custom"]) == ("r", 0.0, 10.0, {"score": 3.5})


WORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2000, exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=5
)


@st.composite
def directories(draw) -> dict[str, str]:
    names = draw(st.lists(WORDS, min_size=1, max_size=4, unique=True))
    speakers = [draw(st.sampled_from(["ann", "bob"])) for _ in names]
    files = {"wav.scp": "".join(f"{name} /corpus/{place}.wav\n" for place, name in enumerate(names))}
    if draw(st.booleans()):
        files["wav.scp"] = "rec1 /corpus/1.wav\nrec2\t/corpus/2.wav\n"
        files["segments"] = "".join(
            f"{name} rec{1 + place % 2} {place}.5 {place}.75\n" for place, name in enumerate(names)
        )
        files["reco2dur"] = "rec1 10.00\nrec2 10.00\n"
    files["utt2spk"] = "".join(f"{name} {speaker}\n" for name, speaker in zip(names, speakers, strict=True))
    files["spk2gender"] = "ann f\nbob m\n"
    files["text"] = "".join(f"{name} {' '.join(draw(st.lists(WORDS, max_size=3)))}\n" for name in names)
    files["utt2dur"] = "".join(f"{name} 10.00\n" for name in names)
    files["utt2lang"] = "".join(f"{name}  de\n" for name in names)
    files["frame_shift"] = "0.01\n"
    used = dict.fromkeys(speakers)
    files["spk2utt"] = "".join(
        f"{speaker} {' '.join(name for name, own in zip(names, speakers, strict=True) if own == speaker)}\n"
        for speaker in used
    )
    return files


@EXAMPLES
@given(directories())
def test_kaldi(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        after = written_back(
            Path(folder), lambda path: {file.name: file.read_text(encoding="utf-8") for file in path.iterdir()}
        )
        scores = after.pop("utt2score")
        assert {line.split()[0] for line in scores.splitlines()} == {
            line.split()[0] for line in files["utt2spk"].splitlines()
        }
        # A speaker without a kept utterance is left out.
        speakers = {line.split()[0] for line in files["spk2utt"].splitlines()}
        files["spk2gender"] = "".join(
            f"{line}\n" for line in files["spk2gender"].splitlines() if line.split()[0] in speakers
        )
        if "segments" in files:
            used = {line.split()[1] for line in files["segments"].splitlines()}
            for name in ("wav.scp", "reco2dur"):
                files[name] = "".join(f"{line}\n" for line in files[name].splitlines() if line.split()[0] in used)
        assert after == files


def test_columns_without_a_name_are_kept(tmp_path):
    (tmp_path / "c.csv").write_text('"path",," a ",\nb.wav,1,2,3\n')
    text = written_back(tmp_path / "c.csv", Path.read_text)
    assert text == f"path,, a ,,id,duration,score\n{tmp_path}/b.wav,1,2,3,b.wav,10.0,3.5\n"


def test_a_json_array_and_names_of_other_trainers(tmp_path):
    rows = [{"file_name": "/b.wav", "utt_id": 7, "start_ms": 500, "duration_ms": 1500, "x": {"y": [None]}}]
    (tmp_path / "c.json").write_text(json.dumps(rows, indent=1))
    lines = written_back(tmp_path / "c.json", lambda path: path.read_text().splitlines())
    assert [json.loads(line) for line in lines] == [rows[0] | {"score": 3.5}]


def test_lists_of_paths_keep_their_order(tmp_path):
    (tmp_path / "corpus.txt").write_text("/b.wav\n\nsub/a.wav\n/c d.wav\n")
    text = written_back(tmp_path / "corpus.txt", Path.read_text)
    assert text == f"/b.wav\n{tmp_path}/sub/a.wav\n/c d.wav\n"


def test_relative_paths_become_those_of_the_recordings(tmp_path):
    (tmp_path / "corpus.jsonl").write_text(
        '{"audio_filepath": "b/1.wav", "x": [1.0]}\n{"audio_filepath": "a/1.wav", "id": ""}\n'
    )
    lines = written_back(tmp_path / "corpus.jsonl", lambda path: path.read_text().splitlines())
    rows = [json.loads(line) for line in lines]
    assert [row["audio_filepath"] for row in rows] == [f"{tmp_path}/b/1.wav", f"{tmp_path}/a/1.wav"]
    assert [row["id"] for row in rows] == ["b/1.wav", "a/1.wav"]
    assert rows[0]["x"] == [1.0]


def test_dropped_rows_are_left_out_in_the_order_of_the_corpus(tmp_path):
    rows = [{"path": f"/{name}.wav", "id": name, "n": None} for name in "zmab"]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rules = where("utterance_id <> 'm'").rules
    lines = written_back(tmp_path / "corpus.jsonl", lambda path: path.read_text().splitlines(), rules)
    assert [json.loads(line)["id"] for line in lines] == ["z", "a", "b"]


def test_several_manifests_become_one(tmp_path):
    (tmp_path / "1.csv").write_text("path,a\n/1.wav,x\n")
    (tmp_path / "2.csv").write_text("b,path\ny,/2.wav\n")
    text = written_back(tmp_path / "*.csv", Path.read_text)
    assert text == "path,a,b,id,duration,score\n/1.wav,x,,/1.wav,10.0,3.5\n/2.wav,,y,/2.wav,10.0,3.5\n"
    assert math.isclose(float(text.split(",")[-1]), 3.5)
