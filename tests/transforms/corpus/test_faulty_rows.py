"""A faulty row of a manifest becomes a reject with its line, and costs no other row."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.corpus.listing import Corpus, ListingOptions
from transforms.corpus.sources import SourceError, scan_corpus
from transforms.errors import Reason

LENIENT = ListingOptions(is_strict=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"12345")
    return tmp_path


def faults_of(path: Path, content: str | bytes) -> dict[str, str]:
    """Lists a manifest with the good utterances a and c; returns the details of its faulty rows by reason."""
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    corpus = scan_corpus(str(path), LENIENT)
    check(path, corpus)
    return {str(ref.fault.reason): ref.fault.detail for ref in corpus.faulty}


def check(path: Path, corpus: Corpus) -> None:
    good = [ref for ref in corpus.refs if ref.fault is None]
    assert [(ref.utterance_id, Path(ref.uri).name) for ref in good] == [("a", "a.wav"), ("c", "c.wav")]
    assert corpus.faulty
    assert len({ref.utterance_id for ref in corpus.refs}) == len(corpus.refs)
    assert all(ref.fault.detail.startswith(f"{path}, ") for ref in corpus.faulty)
    with pytest.raises(SourceError):
        scan_corpus(str(path), ListingOptions(is_strict=True))


A, C = '{"id": "a", "path": "a.wav"}', '{"id": "c", "path": "c.wav"}'


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"id": "b", "path": "b.wav", "offset": 1, "duration": 0}', "the end must be after the start"),
        ('{"id": "b", "path": "b.wav", "offset": 1, "duration": -2}', "duration is -2; must not be negative"),
        ('{"id": "b", "path": "b.wav", "duration": 0}', "duration is 0; must be over 0"),
        ('{"id": "b", "path": "b.wav", "duration": -1.5}', "duration is -1.5; must be over 0"),
        ('{"id": "b", "path": "b.wav", "offset": "x"}', "offset is 'x', which is not a number of seconds"),
        ('{"id": "b", "path": "b.wav", "offset": [1]}', "offset is '[1]'"),
        ('{"id": "b"}', "the row has no path"),
        ('{"id": "b", "path": null}', "the path is empty"),
        ('{"id": "b", "path": ["b.wav"]}', 'path is ["b.wav"], which is not a path'),
        ('{"id": {"x": 1}, "path": "b.wav"}', 'id is {"x": 1}, which is not an id'),
        ('{"id": "b", "path": "b\\u0000.wav"}', "cannot be looked up"),
        ('{"id": "b", "path": "b.w', "it is not JSON"),
        ("[1, 2]", "it is JSON, but not an object"),
        ("[" * 99_999, "it is not JSON"),
        ("b.wav", "it is not JSON"),
    ],
)
def test_a_line_of_json(root, suffix, line, fault):
    faults = faults_of(root / f"m.{suffix}", f"{A}\n{line}\n{C}\n")
    assert list(faults) == [Reason.INVALID_ROW]
    assert ", line 2: " in faults["invalid_row"]
    assert fault in faults["invalid_row"]


@pytest.mark.parametrize("line", ["[1, 2]", "[", '["x.wav", ', "{", "x"])
def test_a_broken_first_line_of_json_costs_no_other(root, line):
    assert list(faults_of(root / "m.jsonl", f"{line}\n{A}\n{C}\n")) == ["invalid_row"]


def test_a_cut_off_last_line_of_json(root):
    assert ", line 3: it is not JSON" in faults_of(root / "m.jsonl", f'{A}\n{C}\n{{"id": "b", "pa')["invalid_row"]


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.tsv", "m.txt"])
def test_a_line_that_is_not_utf_8(root, name):
    rows = {
        "m.jsonl": [A, '{"id": "b", "path": "caf\xe9.wav"}', C],
        "m.csv": ["id,path", "a,a.wav", "b,caf\xe9.wav", "c,c.wav"],
        "m.tsv": ["id\tpath", "a\ta.wav", "b\tcaf\xe9.wav", "c\tc.wav"],
        "m.txt": ["a.wav", "caf\xe9.wav", "c.wav"],
    }[name]
    (root / name).write_bytes("\n".join(rows).encode("latin-1"))
    corpus = scan_corpus(str(root / name), LENIENT)
    assert [Path(ref.uri).name for ref in corpus.refs if ref.fault is None] == ["a.wav", "c.wav"]
    (faulty,) = corpus.faulty
    assert "not in UTF-8" in faulty.fault.detail
    assert faulty.uri == str(root / name)
    json.dumps([faulty.utterance_id, faulty.fault.detail]).encode()


def test_utf_16_with_a_byte_order_mark_is_read(root):
    (root / "m.csv").write_bytes("id;path\na;a.wav\n".encode("utf-16"))
    assert scan_corpus(str(root / "m.csv"), ListingOptions()).refs[0].utterance_id == "a"


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz", "m.tsv"])
@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("b,b.wav,2,1", "the span is 2 s to 1 s"),
        ("b,b.wav,-1,1", "start is -1; must not be negative"),
        ("b,b.wav,x,1", "start is 'x'"),
        ("b,,0,1", "the path is empty"),
        ("b,b.wav", "the row has 2 cells, the header 4"),
        ("b,b.wav,0,1,x", "the row has 5 cells, the header 4"),
        ("b", "the row has 1 cells"),
    ],
)
def test_a_row_of_a_table(root, name, row, fault):
    text = f"id,path,start,end\na,a.wav,,\n{row}\nc,c.wav,,\n"
    faults = faults_of(root / name, text.replace(",", "\t") if "tsv" in name else text)
    assert ", line 3: " in faults["invalid_row"]
    assert fault in faults["invalid_row"]


@pytest.mark.parametrize("row", ['b,"b.wav', 'b,"b".wav', '"b,b.wav'])
def test_a_quotation_mark_that_is_not_closed_costs_one_row(root, row):
    faults = faults_of(root / "m.csv", f'id,path\na,a.wav\n{row}\n"c",c.wav\n')
    assert faults[
        "invalid_row"
    ] == f"{root}/m.csv, line 3: cannot be read as a table (a quotation mark is not closed or " + ("misplaced)")


def test_a_quoted_cell_may_span_lines(root):
    (root / "m.csv").write_text('id,path,text\na,a.wav,"one\ntwo, three"\nc,c.wav,x\n')
    first, _ = scan_corpus(str(root / "m.csv"), ListingOptions()).refs
    assert first.columns == {"text": "one\ntwo, three"}


def test_a_manifest_whose_gzip_is_cut_off_is_read_as_far_as_it_goes(root):
    text = "id,path\n" + "".join(f"u{i:06d},a.wav\n" for i in range(50_000))
    packed = gzip.compress(text.encode())
    (root / "m.csv.gz").write_bytes(packed[: len(packed) // 2])
    corpus = scan_corpus(str(root / "m.csv.gz"), LENIENT)
    (faulty,) = corpus.faulty
    assert len(corpus.refs) > 10_000
    assert f"line {len(corpus.refs) + 1}: the rest is missing" in faulty.fault.detail


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"id": "b", "path": None}, "the path is empty"),
        ({"id": "b", "path": "b.wav", "start": 2.0, "end": 1.0}, "the end must be after the start"),
        ({"id": "b", "path": "b.wav", "start": -2.0}, "start is -2; must not be negative"),
    ],
)
def test_a_row_of_parquet(root, row, fault):
    path = root / "m.parquet"
    good = [{"id": name, "path": f"{name}.wav", "start": None, "end": None} for name in "ac"]
    write_parquet(path, [good[0], {"start": None, "end": None, **row}, good[1]])
    corpus = scan_corpus(str(path), LENIENT)
    check(path, corpus)
    (faulty,) = corpus.faulty
    assert faulty.fault.detail == f"{path}, row 2: {fault}" or fault in faulty.fault.detail
    assert ", row 2: " in faulty.fault.detail


def test_a_text_of_parquet_that_is_not_utf_8(root):
    path = root / "m.parquet"
    ids, paths = (pa.array([b"a", b"caf\xe9", b"c"]), pa.array([b"a.wav", b"b.wav", b"c.wav"]))
    table = pa.table({"id": pa.Array.from_buffers(pa.string(), 3, ids.buffers()), "path": paths.cast(pa.string())})
    pq.write_table(table, path)
    corpus = scan_corpus(str(path), LENIENT)
    check(path, corpus)
    assert ", row 2: a text is not in UTF-8" in corpus.faulty[0].fault.detail


def test_a_damaged_row_group_of_parquet(root):
    path = root / "m.parquet"
    table = pa.table({"id": [f"u{i}" for i in range(3000)], "path": ["a.wav"] * 3000})
    pq.write_table(table, path, row_group_size=1000, write_page_checksum=True, use_dictionary=False)
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    at = column.data_page_offset + 100
    data[at : at + 50] = bytes(50)
    path.write_bytes(data)
    corpus = scan_corpus(str(path), LENIENT)
    (faulty,) = corpus.faulty
    assert len(corpus.refs) == 2001
    assert ", row 1001: 1000 rows from this one on are damaged" in faulty.fault.detail


def test_a_repeated_id_rejects_the_later_row(root):
    (root / "m.csv").write_text("id,path\na,a.wav\nc,c.wav\na,b.wav\na,b.wav\n")
    corpus = scan_corpus(str(root / "m.csv"), LENIENT)
    check(root / "m.csv", corpus)
    assert [(ref.utterance_id, Path(ref.uri).name, ref.fault.reason) for ref in corpus.faulty] == [
        ("a#2", "b.wav", Reason.DUPLICATE_ID),
        ("a#3", "b.wav", Reason.DUPLICATE_ID),
    ]
    assert corpus.faulty[0].fault.detail == (
        f"{root}/m.csv, line 4: the id 'a' is also that of {root}/m.csv, line 2; ids must be unique"
    )


def test_a_faulty_row_leaves_its_id_to_a_good_one(root):
    (root / "m.csv").write_text("id,path,start\na,b.wav,x\na,a.wav,\nc,c.wav,\n")
    corpus = scan_corpus(str(root / "m.csv"), LENIENT)
    check(root / "m.csv", corpus)
    assert [ref.utterance_id for ref in corpus.faulty] == ["a#2"]


def test_an_id_without_a_line_stays_when_lines_are_inserted_before_it(root):
    path = root / "m.jsonl"
    path.write_text(f"{A}\n{{broken\n{C}\n")
    (before,) = scan_corpus(str(path), LENIENT).faulty
    path.write_text(f"{A}\n\n{C}\n{{broken\n")
    (after,) = scan_corpus(str(path), LENIENT).faulty
    assert before.utterance_id == after.utterance_id
    assert before.source_version != after.source_version
    assert scan_corpus(str(path), LENIENT).faulty == [after]


def test_all_rows_may_be_faulty(root):
    (root / "m.jsonl").write_text("x\ny\n")
    corpus = scan_corpus(str(root / "m.jsonl"), LENIENT)
    assert len(corpus.refs) == len(corpus.faulty) == 2


def test_a_json_array_is_read_and_an_item_that_is_broken_costs_only_itself(root):
    faults = faults_of(root / "m.json", f'[\n  {A},\n  {{"id": "b", "path": }},\n  {C}\n]\n')
    assert ", item 2: the item is not JSON" in faults["invalid_row"]
    faults = faults_of(root / "m.json", f'[{A}, {C}, {{"id": "b", "pa')
    assert ", item 3: the item is not JSON" in faults["invalid_row"]


# --- Lhotse and Kaldi --------------------------------------------------------------------------------------------------------


def cut(name: str, **changes: Any) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": f"{name}.wav"}
    recording = {"id": name, "sources": [source], "sampling_rate": 16000, "num_samples": 48000, "duration": 3.0}
    return {"id": name, "type": "MonoCut", "start": 0.5, "duration": 1, "channel": 0, "recording": recording, **changes}


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (cut("b", duration=0), "the span is 0.5 s to 0.5 s"),
        (cut("b", duration=-1), "duration is -1"),
        (cut("b", start=7.0), "the span is 7 to 8 s; the recording has 3 s"),
        (cut("b", recording=None), "the entry has no recording"),
        (cut("b", id=None), "the entry has no id"),
        ({"id": "b", "type": "MixedCut", "tracks": []}, "a MixedCut is composed of other cuts"),
        ('{"id": "b", "type": "Mono', "it is not JSON"),
    ],
)
def test_an_entry_of_lhotse(root, suffix, row, fault):
    lines = [json.dumps(row) if isinstance(row, dict) else row for row in (cut("a"), row, cut("c"))]
    faults = faults_of(root / f"cuts.{suffix}", "\n".join(lines))
    assert ", line 2: " in faults["invalid_row"]
    assert fault in faults["invalid_row"]


def test_lhotse_is_recognised_behind_a_broken_first_line(root):
    faults = faults_of(root / "cuts.jsonl", "\n".join(['{"id": ', json.dumps(cut("a")), json.dumps(cut("c"))]))
    assert list(faults) == ["invalid_row"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("b lame --decode b.mp3 - |", "is the output of a command"),
        ("b sox b.wav -r 8000 -t wav - |", "its option -r may change the audio"),
        ("b raw.ark:17", "is in a Kaldi archive"),
        ("b", "the line has an id but no path"),
        ("a b.wav", "the recording 'a' occurs twice"),
        (b"b caf\xe9.wav", "not in UTF-8"),
    ],
)
def test_a_line_of_wav_scp(root, line, fault):
    raw = line if isinstance(line, bytes) else line.encode()
    faults = faults_of(root / "wav.scp", b"a a.wav\n" + raw + b"\nc c.wav\n")
    assert ", line 2: " in faults["invalid_row"]
    assert fault in faults["invalid_row"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("b rec1 3 2", "the span is 3 s to 2 s"),
        ("b rec1 0", "must be id, recording, start, end"),
        ("b rec9 0 1", "the recording 'rec9' is not in wav.scp"),
        ("b rec1 x 1", "the start is 'x'"),
        ("b rec1 0 1 left", "a channel number from 0"),
        (
            "b rec2 0 1",
            "the recording 'rec2' cannot be used (wav.scp, line 2: the recording is the output of a command",
        ),
    ],
)
def test_a_line_of_segments(root, line, fault):
    (root / "wav.scp").write_text("rec1 a.wav\nrec2 lame x |\n")
    (root / "segments").write_text(f"a rec1 0 1\n{line}\nc rec1 1 2\n")
    corpus = scan_corpus(str(root), LENIENT)
    assert [ref.utterance_id for ref in corpus.refs if ref.fault is None] == ["a", "c"]
    details = [ref.fault.detail for ref in corpus.faulty]
    assert any(detail.startswith(f"{root}/segments, line 2: ") and fault in detail for detail in details)
    # The line of wav.scp is a reject of its own only if no segment names it.
    assert any("wav.scp, line 2: the recording is" in detail for detail in details)
    assert len(details) == (1 if "rec2" in line else 2)


def test_a_line_of_ctm_costs_the_word_times_of_its_utterance(root):
    (root / "wav.scp").write_text("a a.wav\nc c.wav\n")
    (root / "ctm").write_text("a 1 0.0 0.5 good\na 1 x 0.5 bad\nc 1 0.0 0.5 day\n")
    options = ListingOptions(carry=frozenset({"words"}), word_times=True, is_strict=False)
    corpus = scan_corpus(str(root), options)
    assert [bool(ref.columns["words"]) for ref in corpus.refs] == [False, True]
    assert corpus.notes == (
        f"{root}/ctm, line 2: the start is 'x', which is not a number of seconds; 1 utterance with such lines have no word "
        "times",
    )


def test_a_line_of_text_that_is_not_utf_8_costs_only_the_text(root):
    (root / "wav.scp").write_text("a a.wav\nc c.wav\n")
    (root / "text").write_bytes(b"a caf\xe9\nc tea\n")
    corpus = scan_corpus(str(root), ListingOptions(carry=frozenset({"text"}), is_strict=False))
    assert [ref.columns["text"] for ref in corpus.refs] == ["", "tea"]
    assert corpus.notes[0].startswith(f"{root}/text, line 1: it is not in UTF-8")
    with pytest.raises(SourceError, match="text, line 1: it is not in UTF-8"):
        scan_corpus(str(root), ListingOptions())


def test_empty_segments_are_an_error(root):
    (root / "wav.scp").write_text("a a.wav\n")
    (root / "segments").write_text("\n")
    with pytest.raises(SourceError, match="segments: the manifest is empty"):
        scan_corpus(str(root), LENIENT)


# --- Directories -------------------------------------------------------------------------------------------------------------


def test_names_that_become_the_same_id(root):
    folder = root / "x"
    folder.mkdir()
    for name in (b"caf\xe9.wav", rb"caf\xe9.wav"):
        (folder / os.fsdecode(name)).write_bytes(b"1")
    corpus = scan_corpus(str(folder), LENIENT)
    assert [ref.fault is None for ref in corpus.refs] == [True, False]
    assert corpus.faulty[0].fault.reason == Reason.DUPLICATE_ID
