"""Tables that name recordings: what of a row becomes what, and how a row that makes no sense is refused."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.buckets import Shelf, bucket
from transforms.corpus.manifests import PATH_COLUMNS
from transforms.corpus.sources import SourceError, list_corpus
from transforms.elements import AudioRef, Span

KINDS = ("csv", "tsv", "jsonl", "json", "parquet", "csv.gz", "tsv.gz", "jsonl.gz", "json.gz")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav", "x/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes rows as the end of the name says."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    kind = path.name.partition(".")[2].removesuffix(".gz")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    with (
        gzip.open(path, "wt", newline="")
        if path.suffix == ".gz"
        else path.open("w", encoding="utf-8", newline="") as file
    ):
        if kind in ("jsonl", "json"):
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, names, dialect="excel" if kind == "csv" else "excel-tab")
            writer.writeheader()
            writer.writerows(rows)
    return path


def refusal(source: Path) -> str:
    with pytest.raises(SourceError) as caught:
        list_corpus(str(source))
    return str(caught.value)


def one(path: Path, /, **row: Any) -> AudioRef:
    (ref,) = list_corpus(str(write(path, [row])))
    return ref


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_all_kinds_say_the_same(self, root, kind):
        rows = [
            {"path": "x/c.wav", "id": "u2", "start": 0.5, "end": 1.25, "speaker": "S1"},
            {"path": "a.wav", "id": "u1", "start": None, "end": None, "speaker": None},
        ]
        first, second = list_corpus(str(write(root / f"m.{kind}", rows)))
        assert (first.utterance_id, first.uri, first.span) == ("u1", str(root / "a.wav"), Span())
        assert (second.utterance_id, second.uri, second.span) == ("u2", str(root / "x/c.wav"), Span(0.5, 1.25))
        assert (first.columns, second.columns) == ({"speaker": ""}, {"speaker": "S1"})
        assert first.size_bytes == 5
        assert first.archive is None

    @pytest.mark.parametrize("name", ["m.CSV", "m.Csv.GZ"])
    def test_the_case_of_the_ending_does_not_matter(self, root, name):
        text = b"path\na.wav\n"
        (root / name).write_bytes(gzip.compress(text) if name.endswith("GZ") else text)
        assert list_corpus(str(root / name))[0].utterance_id == "a.wav"

    def test_what_is_gzipped_is_told_by_its_bytes(self, root):
        (root / "m.csv").write_bytes(gzip.compress(b"path\na.wav\n"))
        (root / "n.csv.gz").write_bytes(b"path\na.wav\n")
        assert list_corpus(str(root / "m.csv")) == list_corpus(str(root / "n.csv.gz"))

    def test_a_gzipped_manifest_that_breaks_off_is_refused(self, root):
        whole = gzip.compress(b"path\n" + b"".join(b"%d.wav\n" % n for n in range(9_999)))
        (root / "m.csv.gz").write_bytes(whole[: len(whole) // 2])
        assert "m.csv.gz: the manifest cannot be read" in refusal(root / "m.csv.gz")

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
    def test_byte_order_marks_line_ends_and_empty_lines(self, root, kind, end):
        head, *rows = ['{"path": "a.wav"}', '{"path": "b.wav"}'] if kind == "jsonl" else ["path", "a.wav", "b.wav"]
        text = end.join([head, *rows, "", ""])
        (root / f"m.{kind}").write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert [ref.utterance_id for ref in list_corpus(str(root / f"m.{kind}"))] == ["a.wav", "b.wav"]

    def test_quotation_marks_in_tsv_are_text(self, root):
        (root / "m.tsv").write_text('path\tsentence\na.wav\t"Yes\nb.wav\tno" he said\n')
        assert [ref.columns["sentence"] for ref in list_corpus(str(root / "m.tsv"))] == ['"Yes', 'no" he said']

    def test_an_open_quotation_mark_in_csv_swallows_no_lines(self, root):
        (root / "m.csv").write_text('speaker,path\nS1,a.wav\nS2,"b.wav\nS3,x/c.wav\n')
        assert "m.csv, line" in refusal(root / "m.csv")

    def test_a_glob_of_manifests_is_all_that_they_list(self, root):
        write(root / "m1.csv", [{"path": "a.wav"}])
        write(root / "m2.csv", [{"path": "b.wav"}])
        assert [ref.utterance_id for ref in list_corpus(str(root / "m*.csv"))] == ["a.wav", "b.wav"]

    def test_raw_bytes_in_parquet_are_left_out(self, root):
        ref = one(root / "m.parquet", path="a.wav", embedding=b"\xff\x00", tags=["x", "é"], year=1999, clean=True)
        assert ref.columns == {"tags": '["x", "é"]', "year": "1999", "clean": "true"}


class TestPaths:
    @pytest.mark.parametrize("name", PATH_COLUMNS)
    def test_names_of_the_path_column(self, root, name):
        assert one(root / "m.csv", **{name: "a.wav"}).uri == str(root / "a.wav")

    def test_the_first_known_column_counts_and_the_others_are_kept(self, root):
        ref = one(root / "m.csv", wav="no.wav", file="b.wav", audio_filepath="a.wav")
        assert (ref.utterance_id, ref.columns) == ("a.wav", {"wav": "no.wav", "file": "b.wav"})

    @pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
    def test_a_table_without_one_says_which_are_known(self, root, kind):
        message = refusal(write(root / f"m.{kind}", [{"name": "a.wav", "speaker": "S1"}]))
        assert all(name in message for name in (*PATH_COLUMNS, "name, speaker"))

    def test_a_line_without_one_says_so(self, root):
        message = refusal(write(root / "m.jsonl", [{"path": "a.wav"}, {"name": "b.wav"}]))
        assert message.startswith(f"{root}/m.jsonl, line 2: the row has no path; ")
        assert message.endswith("; there is name")

    @pytest.mark.parametrize("path", [{"bytes": 1}, 5, True])
    def test_a_path_that_is_no_text_is_refused(self, root, path):
        assert "m.jsonl, line 1: path is" in refusal(write(root / "m.jsonl", [{"path": path}]))

    @pytest.mark.parametrize("path", ["a\0b.wav", "\ud800.wav", "nowhere://a.wav"])
    def test_a_path_that_can_lead_nowhere_is_refused_with_its_line(self, root, path):
        message = refusal(write(root / "m.jsonl", [{"path": "a.wav"}, {"path": path, "id": "x"}]))
        assert "m.jsonl, line 2: the path " in message
        assert message.isprintable()

    @pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
    def test_a_missing_file_is_listed_nonetheless(self, root, kind):
        ref = one(root / f"m.{kind}", path="gone/away.wav")
        assert (ref.uri, ref.size_bytes, ref.source_version) == (f"{root}/gone/away.wav", 0, "0-0.000000")

    def test_a_column_that_stands_twice_is_refused(self, root):
        (root / "m.csv").write_text("path,speaker,speaker\na.wav,S1,S2\n")
        assert "the column 'speaker' stands twice" in refusal(root / "m.csv")

    def test_a_column_without_a_name_is_no_column(self, root):
        (root / "m.csv").write_text(",path\n0,a.wav\n")  # as pandas writes its index
        assert list_corpus(str(root / "m.csv"))[0].columns == {}

    @pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
    def test_a_manifest_that_is_missing_or_lists_nothing(self, root, kind):
        path = root / f"m.{kind}"
        assert refusal(path) == f"{path}: there is no such manifest"
        if kind == "parquet":
            pq.write_table(pa.table({"path": pa.array([], pa.string())}), path)
        else:
            path.write_bytes(b"" if kind == "jsonl" else b"path\n")
        assert refusal(path) == f"{path}: the manifest lists nothing"

    @pytest.mark.parametrize("text", ['[{"path": "a.wav"}]', "{", "a.wav", '{"path": "a.wav"}\n[' + "[" * 99_999])
    def test_what_is_no_object_a_line_is_refused(self, root, text):
        (root / "m.json").write_text(text)
        assert "each line must be one JSON object" in refusal(root / "m.json")

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_what_is_not_utf_8_is_refused(self, root, kind):
        (root / f"m.{kind}").write_bytes(b'path\n{"path": "caf\xe9.wav"}\n')
        assert "not in UTF-8" in refusal(root / f"m.{kind}")

    def test_what_is_no_parquet_is_refused(self, root):
        (root / "m.parquet").write_bytes(b"path,id\na.wav,u1\n")
        assert f"{root}/m.parquet: cannot be read as Parquet" in refusal(root / "m.parquet")


class TestIds:
    def test_utterance_id_is_an_id_too_and_numbers_are_ids(self, root):
        assert one(root / "m.jsonl", path="a.wav", utterance_id=7).utterance_id == "7"

    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            ({"start": 1, "end": 2.5}, "a.wav#1.000-2.500"),
            ({"start": 1}, "a.wav#1.000-end"),
            ({"end": 0.12345}, "a.wav#0.000-0.123"),
            ({"start": 0, "end": None}, "a.wav"),
            ({"start": 1, "end": 2, "id": "u"}, "u"),
            ({"start": 1, "end": 2, "id": None}, "a.wav#1.000-2.000"),
        ],
    )
    def test_a_span_without_an_id_is_called_by_where_it_is(self, root, row, expected):
        assert one(root / "m.jsonl", path="a.wav", **row).utterance_id == expected

    def test_ids_that_stand_twice_are_refused_with_what_to_do(self, root):
        assert "a column id" in refusal(write(root / "m.csv", [{"path": "a.wav"}, {"path": "a.wav"}]))


class TestSpans:
    @pytest.mark.parametrize(
        ("row", "span", "columns"),
        [
            ({"start_s": 1, "end_s": 2}, Span(1.0, 2.0), {}),
            ({"start": "0.5"}, Span(0.5, None), {}),
            ({"offset": 1.1, "duration": 2.2, "text": "hi"}, Span(1.1, 3.3), {"text": "hi"}),
            ({"offset": 0, "duration": 2.2}, Span(0.0, 2.2), {}),
            ({"offset": None, "duration": 2.2}, Span(), {"duration": "2.2"}),
            ({"duration": 2.2, "text": "hi"}, Span(), {"duration": "2.2", "text": "hi"}),
            ({"offset": 3, "duration": None}, Span(3.0, None), {}),
            ({"start": 1, "duration": 2}, Span(1.0, 3.0), {}),
            ({"start": 1, "end": 4, "duration": 60}, Span(1.0, 4.0), {"duration": "60"}),
            ({"start": 1, "end": None, "duration": 60}, Span(1.0, None), {"duration": "60"}),
        ],
    )
    def test_what_of_a_row_is_a_span(self, root, row, span, columns):
        ref = one(root / "m.jsonl", audio_filepath="a.wav", **row)
        assert (ref.span, ref.columns) == (span, columns)

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"start": "x"}, "start is 'x', which is not a number of seconds"),
            ({"start": True}, "start is 'true', which is not a number of seconds"),
            ({"start": float("nan")}, "start is 'NaN', which is not a number of seconds"),
            ({"end": "inf"}, "end is 'inf', which is not a number of seconds"),
            ({"start": [1]}, "start is '[1]', which is not a number of seconds"),
            ({"offset": -1, "duration": 2}, "offset is -1; it must not be negative"),
            ({"start": 2, "end": 1}, "the span begins at 2 s and ends at 1 s; it must end later than it begins"),
            ({"start": 1, "end": 1}, "the span begins at 1 s and ends at 1 s; it must end later than it begins"),
            ({"offset": 1, "duration": 0}, "the span begins at 1 s and ends at 1 s; it must end later than it begins"),
            ({"end": 0}, "the span begins at 0 s and ends at 0 s; it must end later than it begins"),
        ],
    )
    def test_numbers_that_make_no_sense_are_refused_with_their_line(self, root, row, reason):
        manifest = write(root / "m.jsonl", [{"path": "b.wav"}, {"path": "a.wav", **row}])
        assert refusal(manifest) == f"{manifest}, line 2: {reason}"

    def test_parquet_counts_rows(self, root):
        manifest = write(root / "m.parquet", [{"path": "b.wav", "end": 1.0}, {"path": "a.wav", "end": -1.0}])
        assert refusal(manifest) == f"{manifest}, row 2: end is -1; it must not be negative"

    @settings(max_examples=25)
    @given(
        rows=st.lists(
            st.tuples(st.floats(0, 1e5), st.floats(0.01, 1e4), st.text(st.characters(codec="utf-8"))),
            min_size=1,
            max_size=8,
        ),
        kind=st.sampled_from(["csv", "jsonl", "parquet", "csv.gz"]),
    )
    def test_what_is_written_is_what_is_listed(self, tmp_path_factory, rows, kind):
        written = [
            {"path": "a.wav", "id": f"u{n}", "start": start, "end": start + length, "note": note}
            for n, (start, length, note) in enumerate(rows)
        ]
        refs = list_corpus(str(write(tmp_path_factory.mktemp("rows") / f"m.{kind}", written)))
        assert [ref.utterance_id for ref in refs] == sorted(row["id"] for row in written)
        spans = {row["id"]: (Span(row["start"], row["end"]), row["note"]) for row in written}
        assert {ref.utterance_id: (ref.span, ref.columns["note"]) for ref in refs} == spans


class TestBuckets:
    def test_a_manifest_in_a_bucket(self, root):
        write(root / "m.csv.gz", [{"path": "x/c.wav"}, {"path": bucket(root / "a.wav")}, {"path": str(root / "b.wav")}])
        refs = list_corpus(bucket(root / "m.csv.gz"))
        assert [ref.uri for ref in refs] == [str(root / "b.wav"), bucket(root / "a.wav"), bucket(root / "x/c.wav")]
        assert {ref.size_bytes for ref in refs} == {5}

    def test_each_directory_is_listed_once_however_many_files_are_named(self, tmp_path):
        folder = tmp_path / "take[1]*"
        folder.mkdir()
        for n in range(50):
            (folder / f"{n}.wav").write_bytes(b"1")
        write(tmp_path / "m.csv", [{"path": f"take[1]*/{n}.wav"} for n in range(60)])
        Shelf.listings.clear()
        refs = list_corpus(bucket(tmp_path / "m.csv"))
        assert len(Shelf.listings) == 1
        assert [ref.utterance_id for ref in refs if not ref.size_bytes] == [f"take[1]*/{n}.wav" for n in range(50, 60)]

    def test_a_file_is_the_same_version_there_however_it_is_listed(self, root):
        write(root / "m.csv", [{"path": "a.wav"}])
        (listed,) = list_corpus(bucket(root / "m.csv"))
        assert list_corpus(bucket(root / "a.wav")) == [listed]
        assert FileSystems.open(listed.uri).read() == b"12345"


def test_local_files_are_looked_at_once_each(root, monkeypatch):
    write(root / "m.csv", [{"path": "a.wav", "start": n} for n in range(100)])
    looks = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: looks.append(path) or stat(path, **how))
    assert len(list_corpus(str(root / "m.csv"))) == 100
    assert looks.count(str(root / "a.wav")) == 1


def test_a_list_of_paths(tmp_path):
    (tmp_path / "a b.wav").write_bytes(b"12345")
    (tmp_path / "list.txt").write_text(f"a b.wav\r\n\n{tmp_path}/gone.wav\n")
    refs = list_corpus(str(tmp_path / "list.txt"))
    assert [(ref.utterance_id, ref.uri, ref.size_bytes) for ref in refs] == [
        (f"{tmp_path}/gone.wav", f"{tmp_path}/gone.wav", 0), ("a b.wav", f"{tmp_path}/a b.wav", 5),
    ]  # fmt: skip
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SourceError, match="lists nothing"):
        list_corpus(str(tmp_path / "empty.txt"))
