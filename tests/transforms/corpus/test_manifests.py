"""Manifests: how rows become utterances, and the errors of invalid rows."""

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

from tests.support.storage.local_buckets import Shelf, bucket
from transforms.corpus.columns import PATH_COLUMNS
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
    """Writes rows in the format of the suffix."""
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


def error_of(source: Path) -> str:
    with pytest.raises(SourceError) as caught:
        list_corpus(str(source))
    return str(caught.value)


def list_one(path: Path, /, **row: Any) -> AudioRef:
    (ref,) = list_corpus(str(write(path, [row])))
    return ref


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_all_formats_give_the_same_utterances(self, root, kind):
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
    def test_the_case_of_the_suffix_does_not_matter(self, root, name):
        text = b"path\na.wav\n"
        (root / name).write_bytes(gzip.compress(text) if name.endswith("GZ") else text)
        assert list_corpus(str(root / name))[0].utterance_id == "a.wav"

    def test_the_content_decides_whether_a_manifest_is_gzipped(self, root):
        (root / "m.csv").write_bytes(gzip.compress(b"path\na.wav\n"))
        (root / "n.csv.gz").write_bytes(b"path\na.wav\n")
        assert list_corpus(str(root / "m.csv")) == list_corpus(str(root / "n.csv.gz"))

    def test_a_truncated_gzipped_manifest_is_an_error(self, root):
        whole = gzip.compress(b"path\n" + b"".join(b"%d.wav\n" % n for n in range(9_999)))
        (root / "m.csv.gz").write_bytes(whole[: len(whole) // 2])
        assert "the rest is missing: the manifest cannot be read" in error_of(root / "m.csv.gz")

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
    def test_byte_order_marks_line_ends_and_empty_lines_are_ignored(self, root, kind, end):
        head, *rows = ['{"path": "a.wav"}', '{"path": "b.wav"}'] if kind == "jsonl" else ["path", "a.wav", "b.wav"]
        text = end.join([head, *rows, "", ""])
        (root / f"m.{kind}").write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert [ref.utterance_id for ref in list_corpus(str(root / f"m.{kind}"))] == ["a.wav", "b.wav"]

    def test_quotation_marks_in_tsv_are_text(self, root):
        (root / "m.tsv").write_text('path\tsentence\na.wav\t"Yes\nb.wav\tno" he said\n')
        assert [ref.columns["sentence"] for ref in list_corpus(str(root / "m.tsv"))] == ['"Yes', 'no" he said']

    def test_an_open_quotation_mark_in_csv_is_an_error(self, root):
        (root / "m.csv").write_text('speaker,path\nS1,a.wav\nS2,"b.wav\nS3,x/c.wav\n')
        assert "m.csv, line" in error_of(root / "m.csv")

    def test_a_glob_of_manifests_lists_all_their_utterances(self, root):
        write(root / "m1.csv", [{"path": "a.wav"}])
        write(root / "m2.csv", [{"path": "b.wav"}])
        assert [ref.utterance_id for ref in list_corpus(str(root / "m*.csv"))] == ["a.wav", "b.wav"]

    def test_binary_columns_of_parquet_are_left_out(self, root):
        ref = list_one(root / "m.parquet", path="a.wav", embedding=b"\xff\x00", tags=["x", "é"], year=1999, clean=True)
        assert ref.columns == {"tags": '["x", "é"]', "year": "1999", "clean": "true"}


class TestPaths:
    @pytest.mark.parametrize("name", PATH_COLUMNS)
    def test_the_path_column_may_have_several_names(self, root, name):
        assert list_one(root / "m.csv", **{name: "a.wav"}).uri == str(root / "a.wav")

    def test_the_path_column_whose_files_exist_counts_and_the_others_are_carried(self, root):
        ref = list_one(root / "m.csv", wav="no.wav", file="speech", audio_filepath="a.wav")
        assert (ref.utterance_id, ref.columns) == ("a.wav", {"wav": "no.wav", "file": "speech"})

    def test_two_columns_that_may_be_the_path_are_an_error_that_says_how_to_choose(self, root):
        message = error_of(write(root / "m.csv", [{"path": "a.wav", "wav": "b.wav"}]))
        assert message == (
            f"{root}/m.csv: the columns 'path' and 'wav' may both be the path of the recording; choose one with "
            "--columns path=path or --columns path=wav"
        )

    @pytest.mark.parametrize("rows", [[{"path": "a.wav", "file": "a.wav"}], [{"path": "a.wav"}, {"file": "b.wav"}]])
    def test_two_columns_that_agree_or_never_meet_leave_no_choice(self, root, rows):
        assert list_corpus(str(write(root / "m.jsonl", rows)))[0].uri == str(root / "a.wav")

    @pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
    def test_the_error_of_a_table_without_a_path_column_lists_the_names(self, root, kind):
        message = error_of(write(root / f"m.{kind}", [{"name": "a.wav", "speaker": "S1"}]))
        assert all(name in message for name in (*PATH_COLUMNS, "name, speaker"))

    def test_a_line_without_a_path_is_an_error(self, root):
        message = error_of(write(root / "m.jsonl", [{"path": "a.wav"}, {"name": "b.wav"}]))
        assert message.startswith(f"{root}/m.jsonl, line 2: the row has no path; ")
        assert message.endswith("; it has name")

    @pytest.mark.parametrize("path", [{"bytes": 1}, 5, True])
    def test_a_path_that_is_not_text_is_an_error(self, root, path):
        assert "m.jsonl, line 1: path is" in error_of(write(root / "m.jsonl", [{"path": path}]))

    @pytest.mark.parametrize("path", ["a\0b.wav", "\ud800.wav", "nowhere://a.wav"])
    def test_an_impossible_path_is_an_error_with_its_line(self, root, path):
        message = error_of(write(root / "m.jsonl", [{"path": "a.wav"}, {"path": path, "id": "x"}]))
        assert "m.jsonl, line 2: the path " in message
        assert message.isprintable()

    @pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
    def test_a_missing_file_is_listed(self, root, kind):
        ref = list_one(root / f"m.{kind}", path="missing/file.wav")
        assert (ref.uri, ref.size_bytes, ref.source_version) == (f"{root}/missing/file.wav", 0, "0-0.000000")

    def test_a_repeated_column_is_an_error(self, root):
        (root / "m.csv").write_text("path,speaker,speaker\na.wav,S1,S2\n")
        assert "the column 'speaker' occurs twice" in error_of(root / "m.csv")

    def test_a_column_without_a_name_is_ignored(self, root):
        (root / "m.csv").write_text(",path\n0,a.wav\n")  # as pandas writes its index
        assert list_corpus(str(root / "m.csv"))[0].columns == {}

    @pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
    def test_a_missing_or_empty_manifest_is_an_error(self, root, kind):
        path = root / f"m.{kind}"
        assert error_of(path) == f"{path}: there is no such manifest"
        if kind == "parquet":
            pq.write_table(pa.table({"path": pa.array([], pa.string())}), path)
        else:
            path.write_bytes(b"" if kind == "jsonl" else b"path\n")
        assert error_of(path) == f"{path}: the manifest is empty"

    @pytest.mark.parametrize("text", ["[1]\n[2]", "{", "a.wav", '{"path": "a.wav"}\n[' + "[" * 99_999])
    def test_a_line_that_is_not_a_json_object_is_an_error(self, root, text):
        (root / "m.json").write_text(text)
        assert "each line must be one JSON object" in error_of(root / "m.json")

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_text_that_is_not_utf_8_is_an_error(self, root, kind):
        head = b"path" if kind == "csv" else b'{"path": "a.wav"}'
        (root / f"m.{kind}").write_bytes(head + b'\n{"path": "caf\xe9.wav"}\n')
        assert "not in UTF-8" in error_of(root / f"m.{kind}")

    def test_content_that_is_not_parquet_is_an_error(self, root):
        (root / "m.parquet").write_bytes(b"path,id\na.wav,u1\n")
        assert f"{root}/m.parquet: cannot be read as Parquet" in error_of(root / "m.parquet")


class TestIds:
    def test_the_id_may_be_in_utterance_id_and_may_be_a_number(self, root):
        assert list_one(root / "m.jsonl", path="a.wav", utterance_id=7).utterance_id == "7"

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
    def test_the_id_of_a_span_without_one_contains_its_times(self, root, row, expected):
        assert list_one(root / "m.jsonl", path="a.wav", **row).utterance_id == expected

    def test_the_error_of_repeated_ids_says_what_to_do(self, root):
        assert "the column id" in error_of(write(root / "m.csv", [{"path": "a.wav"}, {"path": "a.wav"}]))


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
    def test_the_columns_of_times_give_the_span(self, root, row, span, columns):
        ref = list_one(root / "m.jsonl", audio_filepath="a.wav", **row)
        assert (ref.span, ref.columns) == (span, columns)

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"start": "x"}, "start is 'x', which is not a number of seconds"),
            ({"start": True}, "start is 'true', which is not a number of seconds"),
            ({"start": float("nan")}, "start is 'NaN', which is not a number of seconds"),
            ({"end": "inf"}, "end is 'inf', which is not a number of seconds"),
            ({"start": [1]}, "start is '[1]', which is not a number of seconds"),
            ({"offset": -1, "duration": 2}, "offset is -1; must not be negative"),
            ({"start": 2, "end": 1}, "the span is 2 s to 1 s; the end must be after the start"),
            ({"start": 1, "end": 1}, "the span is 1 s to 1 s; the end must be after the start"),
            ({"offset": 1, "duration": 0}, "the span is 1 s to 1 s; the end must be after the start"),
            ({"end": 0}, "the span is 0 s to 0 s; the end must be after the start"),
        ],
    )
    def test_invalid_times_are_errors_with_their_line(self, root, row, reason):
        manifest = write(root / "m.jsonl", [{"path": "b.wav"}, {"path": "a.wav", **row}])
        assert error_of(manifest) == f"{manifest}, line 2: {reason}"

    def test_errors_in_parquet_name_the_row(self, root):
        manifest = write(root / "m.parquet", [{"path": "b.wav", "end": 1.0}, {"path": "a.wav", "end": -1.0}])
        assert error_of(manifest) == f"{manifest}, row 2: end is -1; must not be negative"

    @settings(max_examples=25)
    @given(
        rows=st.lists(
            st.tuples(st.floats(0, 1e5), st.floats(0.01, 1e4), st.text(st.characters(codec="utf-8"))),
            min_size=1,
            max_size=8,
        ),
        kind=st.sampled_from(["csv", "jsonl", "parquet", "csv.gz"]),
    )
    def test_written_rows_are_listed(self, tmp_path_factory, rows, kind):
        written = [
            {"path": "a.wav", "id": f"u{n}", "start": start, "end": start + length, "note": note}
            for n, (start, length, note) in enumerate(rows)
        ]
        refs = list_corpus(str(write(tmp_path_factory.mktemp("rows") / f"m.{kind}", written)))
        assert [ref.utterance_id for ref in refs] == sorted(row["id"] for row in written)
        spans = {row["id"]: (Span(row["start"], row["end"]), row["note"]) for row in written}
        assert {ref.utterance_id: (ref.span, ref.columns["note"]) for ref in refs} == spans


class TestBuckets:
    def test_a_manifest_in_a_bucket_is_read(self, root):
        write(root / "m.csv.gz", [{"path": "x/c.wav"}, {"path": bucket(root / "a.wav")}, {"path": str(root / "b.wav")}])
        refs = list_corpus(bucket(root / "m.csv.gz"))
        assert [ref.uri for ref in refs] == [str(root / "b.wav"), bucket(root / "a.wav"), bucket(root / "x/c.wav")]
        assert {ref.size_bytes for ref in refs} == {5}

    def test_each_directory_of_a_bucket_is_listed_once(self, tmp_path):
        folder = tmp_path / "take[1]*"
        folder.mkdir()
        for n in range(50):
            (folder / f"{n}.wav").write_bytes(b"1")
        write(tmp_path / "m.csv", [{"path": f"take[1]*/{n}.wav"} for n in range(60)])
        Shelf.listings.clear()
        refs = list_corpus(bucket(tmp_path / "m.csv"))
        assert len(Shelf.listings) == 1
        assert [ref.utterance_id for ref in refs if not ref.size_bytes] == [f"take[1]*/{n}.wav" for n in range(50, 60)]

    def test_a_file_in_a_bucket_has_one_version(self, root):
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
    (tmp_path / "list.txt").write_text(f"a b.wav\r\n\n{tmp_path}/missing.wav\n")
    refs = list_corpus(str(tmp_path / "list.txt"))
    assert [(ref.utterance_id, ref.uri, ref.size_bytes) for ref in refs] == [
        (f"{tmp_path}/missing.wav", f"{tmp_path}/missing.wav", 0),
        ("a b.wav", f"{tmp_path}/a b.wav", 5),
    ]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SourceError, match="the manifest is empty"):
        list_corpus(str(tmp_path / "empty.txt"))
