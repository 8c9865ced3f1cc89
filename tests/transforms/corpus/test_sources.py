"""Listing a corpus: its utterances with their ids and versions, and errors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from apache_beam.io.filesystems import FileSystems
from hypothesis import given
from hypothesis import strategies as st

from tests.support.storage.local_buckets import bucket
from transforms.corpus.sources import INPUT_KINDS, SourceError, list_corpus
from transforms.elements import Reject
from transforms.errors import AudioFault, Reason, Stage
from transforms.schemas import REJECTS
from transforms.scoring.rows import reject_row


def fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    return root


def ids(source: str | Path) -> list[str]:
    return [ref.utterance_id for ref in list_corpus(str(source))]


def error_of(source: str | Path) -> str:
    with pytest.raises(SourceError) as caught:
        list_corpus(str(source))
    return str(caught.value)


class TestDirectory:
    def test_ids_are_paths_relative_to_the_root_at_any_depth(self, tmp_path):
        fill(tmp_path, "b.wav", "x/a.wav", "x/y/z/c.flac")
        assert ids(tmp_path) == ["b.wav", "x/a.wav", "x/y/z/c.flac"]

    def test_every_file_is_listed_whatever_its_name(self, tmp_path):
        names = ["notes.txt", ".hidden", "no_suffix", "a.WAV", "clip.wav.gz", "b.csv", "Ünïcode 音.wav"]
        assert sorted(ids(fill(tmp_path, *names))) == sorted(names)

    @pytest.mark.parametrize(
        "name",
        [
            "two words.wav",
            "a[*].wav",
            "what?.wav",
            "new\nline.wav",
            "x=1,y=2.wav",
            "[x]/a.wav",
            "{a,b}.wav",
            "a\\b.wav",
        ],
    )
    def test_unusual_names_are_listed_and_can_be_opened(self, tmp_path, name):
        (ref,) = list_corpus(str(fill(tmp_path, name)))
        assert ref.utterance_id == name
        assert Path(ref.uri).read_bytes() == b"12345"

    def test_a_name_that_is_not_utf_8_can_be_written_to_parquet(self, tmp_path):
        (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"1")
        (ref,) = list_corpus(str(tmp_path))
        assert ref.utterance_id.encode()
        assert FileSystems.open(ref.uri).read() == b"1"
        row = reject_row(Reject.of(ref, AudioFault(Stage.READ, Reason.UNREADABLE, ref.uri)))
        assert pa.Table.from_pylist([row], REJECTS).num_rows == 1

    def test_manifests_in_a_directory_are_listed_as_files(self, tmp_path):
        names = ["m.csv", "m.jsonl.gz", "m.parquet", "recordings.jsonl", "x/wav.scp"]
        refs = list_corpus(str(fill(tmp_path, *names)))
        assert [(ref.utterance_id, ref.archive) for ref in refs] == [(name, None) for name in names]

    def test_a_directory_with_a_wav_scp_is_a_kaldi_directory(self, tmp_path):
        fill(tmp_path, "a.wav", "b.wav")
        (tmp_path / "wav.scp").write_text("u1 b.wav\n")
        assert ids(tmp_path) == ["u1"]

    def test_a_fifo_with_the_suffix_of_an_archive_is_not_opened(self, tmp_path):
        os.mkfifo(tmp_path / "a.parquet")
        assert [(ref.utterance_id, ref.archive) for ref in list_corpus(str(tmp_path))] == [("a.parquet", None)]

    def test_ids_in_a_bucket_equal_those_of_a_directory(self, tmp_path):
        fill(tmp_path, "b.wav", "x/a.wav", "x/y/z/c.flac")
        (tmp_path / "x/shown").mkdir()  # in a bucket, an object for an empty folder
        refs = list_corpus(bucket(tmp_path))
        assert [(ref.utterance_id, ref.uri) for ref in refs] == [
            (name, bucket(tmp_path / name)) for name in ids(tmp_path)
        ]

    def test_wildcards_in_the_name_of_an_existing_directory_are_literal(self, tmp_path):
        assert ids(fill(tmp_path / "take[1]*", "a.wav")) == ["a.wav"]

    @pytest.mark.parametrize("spelling", ["{}/", "{}//", "{}/.", "{}/../corpus"])
    def test_the_spelling_of_the_root_does_not_change_the_ids(self, tmp_path, spelling):
        root = fill(tmp_path / "corpus", "a.wav", "x/b.wav")
        assert ids(spelling.format(root)) == ["a.wav", "x/b.wav"]

    @pytest.mark.parametrize("root", [".", "corpus", "./corpus"])
    def test_a_relative_root_is_not_in_the_ids(self, tmp_path, monkeypatch, root):
        fill(tmp_path / "corpus", "a.wav")
        monkeypatch.chdir(tmp_path if root != "." else tmp_path / "corpus")
        assert ids(root) == ["a.wav"]

    def test_a_broken_link_is_listed_with_size_0(self, tmp_path):
        (tmp_path / "missing.wav").symlink_to(tmp_path / "nothing")
        (ref,) = list_corpus(str(tmp_path))
        assert (ref.utterance_id, ref.size_bytes) == ("missing.wav", 0)

    def test_an_empty_directory_is_an_error(self, tmp_path):
        (tmp_path / "sub").mkdir()
        assert error_of(tmp_path) == f"{tmp_path}: the directory holds no file"


class TestGlob:
    def test_ids_are_relative_to_the_last_directory_before_the_first_wildcard(self, tmp_path):
        fill(tmp_path, "x/a.wav", "x/b.flac", "y/a.wav", "z.wav")
        assert ids(tmp_path / "*/a.wav") == ["x/a.wav", "y/a.wav"]
        assert ids(tmp_path / "x/*") == ["a.wav", "b.flac"]
        assert ids(tmp_path / "x/?.wav") == ["a.wav"]
        assert ids(tmp_path / "[yz]*/a.wav") == ["y/a.wav"]

    def test_two_stars_reach_any_depth(self, tmp_path):
        fill(tmp_path, "a.wav", "x/b.wav", "x/y/c.wav", "x/y/d.txt")
        assert ids(tmp_path / "**.wav") == ["a.wav", "x/b.wav", "x/y/c.wav"]

    @pytest.mark.parametrize("pattern", ["*.wav", "./*.wav", "*/b.wav"])
    def test_a_glob_may_be_relative_to_the_working_directory(self, tmp_path, monkeypatch, pattern):
        fill(tmp_path, "a.wav", "x/b.wav")
        monkeypatch.chdir(tmp_path)
        assert ids(pattern) == (["x/b.wav"] if "/b" in pattern else ["a.wav"])

    def test_a_glob_without_a_match_is_an_error(self, tmp_path):
        pattern = str(fill(tmp_path, "a.wav") / "*.flac")
        assert error_of(pattern) == f"{pattern}: there is no such file or directory"


class TestSingleFile:
    def test_the_id_of_a_single_file_is_its_name(self, tmp_path):
        (ref,) = list_corpus(str(fill(tmp_path, "x/a.wav", "x/b.wav") / "x/a.wav"))
        assert (ref.utterance_id, ref.uri, ref.size_bytes) == ("a.wav", str(tmp_path / "x/a.wav"), 5)

    @pytest.mark.parametrize("name", ["a[1].wav", "x/take[1]/a.wav"])
    def test_wildcards_in_the_name_of_an_existing_file_are_literal(self, tmp_path, name):
        fill(tmp_path, name, name.replace("[1]", "1"))
        (ref,) = list_corpus(str(tmp_path / name))
        assert ref.uri == str(tmp_path / name)

    def test_a_missing_path_is_an_error(self, tmp_path):
        assert error_of(tmp_path / "none.wav") == f"{tmp_path}/none.wav: there is no such file or directory"


class TestManifest:
    def write(self, root: Path, text: str, name: str = "m.csv", encoding: str = "utf-8") -> Path:
        (root / name).write_text(text, encoding=encoding)
        return root / name

    def test_paths_are_relative_to_the_manifest(self, tmp_path, monkeypatch):
        fill(tmp_path, "corpus/x/a.wav")
        self.write(tmp_path / "corpus", "path\nx/a.wav\n")
        monkeypatch.chdir(tmp_path)
        (ref,) = list_corpus("corpus/m.csv")
        assert ref.utterance_id == "x/a.wav"
        assert Path(ref.uri).samefile(tmp_path / "corpus/x/a.wav")
        assert ref.size_bytes == 5

    def test_paths_may_be_absolute(self, tmp_path):
        fill(tmp_path, "elsewhere/a.wav", "corpus/b.wav")
        absolute = str(tmp_path / "elsewhere/a.wav")
        (ref,) = list_corpus(str(self.write(tmp_path / "corpus", f"path\n{absolute}\n")))
        assert (ref.utterance_id, ref.uri, ref.size_bytes) == (absolute, absolute, 5)

    def test_the_id_is_that_of_the_column_or_the_path(self, tmp_path):
        fill(tmp_path, "a.wav", "b.wav")
        assert ids(self.write(tmp_path, "id,path\nspeaker7,b.wav\n,a.wav\n")) == ["a.wav", "speaker7"]

    def test_further_columns_are_carried(self, tmp_path):
        fill(tmp_path, "a.wav")
        (ref,) = list_corpus(str(self.write(tmp_path, 'speaker,path,id,note\nS1,a.wav,u1,"a, b"\n')))
        assert ref.columns == {"speaker": "S1", "note": "a, b"}

    def test_a_byte_order_mark_is_ignored(self, tmp_path):
        fill(tmp_path, "a.wav")
        assert ids(self.write(tmp_path, "path\na.wav\n", encoding="utf-8-sig")) == ["a.wav"]

    @pytest.mark.parametrize("line_end", ["\n", "\r\n"])
    def test_line_ends_may_be_those_of_any_system(self, tmp_path, line_end):
        fill(tmp_path, "a.wav", "b.wav")
        (tmp_path / "m.csv").write_bytes(line_end.join(["path", "a.wav", "b.wav", ""]).encode())
        assert ids(tmp_path / "m.csv") == ["a.wav", "b.wav"]

    def test_quoted_paths_may_contain_commas_and_wildcards(self, tmp_path):
        fill(tmp_path, "a, b.wav", "c[1].wav", "c1.wav", "st*r.wav")
        refs = list_corpus(str(self.write(tmp_path, 'path\n"a, b.wav"\nc[1].wav\nst*r.wav\n')))
        assert [ref.utterance_id for ref in refs] == ["a, b.wav", "c[1].wav", "st*r.wav"]
        assert all(Path(ref.uri).name == ref.utterance_id and ref.size_bytes == 5 for ref in refs)

    def test_a_missing_file_is_listed_with_size_0(self, tmp_path):
        fill(tmp_path, "a.wav")
        refs = list_corpus(str(self.write(tmp_path, "path\na.wav\nmissing.wav\n")))
        assert [(ref.utterance_id, ref.size_bytes) for ref in refs] == [("a.wav", 5), ("missing.wav", 0)]

    def test_a_missing_manifest_is_an_error(self, tmp_path):
        assert error_of(tmp_path / "m.csv") == f"{tmp_path}/m.csv: there is no such manifest"

    @pytest.mark.parametrize("header", ["name,speaker", "path:id", ""])
    def test_a_manifest_without_the_path_column_is_an_error(self, tmp_path, header):
        message = error_of(self.write(tmp_path, f"{header}\na.wav,S1\n" if header else ""))
        assert "needs a column 'path'" in message

    @pytest.mark.parametrize("row", [",u2", '"",u2'])
    def test_an_empty_path_is_an_error_with_its_line(self, tmp_path, row):
        fill(tmp_path, "a.wav")
        message = error_of(self.write(tmp_path, f"path,id\na.wav,u1\n{row}\n"))
        assert message == f"{tmp_path}/m.csv, line 3: the path is empty"

    def test_the_error_of_a_manifest_without_rows_does_not_call_it_missing(self, tmp_path):
        assert "no such file" not in error_of(self.write(tmp_path, "path,id\n"))

    def test_a_manifest_that_is_not_utf_8_is_an_error(self, tmp_path):
        assert "m.csv" in error_of(self.write(tmp_path, "path\ncafé.wav\n", encoding="latin-1"))

    def test_a_row_with_more_cells_than_the_header_is_an_error(self, tmp_path):
        message = error_of(self.write(tmp_path, "path\na.wav,S1\n"))
        assert message == f"{tmp_path}/m.csv, line 2: the row has 2 cells, the header 1"

    def test_a_directory_with_the_suffix_of_a_manifest_is_listed(self, tmp_path):
        assert ids(fill(tmp_path / "corpus.csv", "a.wav")) == ["a.wav"]


class TestIds:
    def test_the_error_names_a_repeated_id(self, tmp_path):
        fill(tmp_path, "a.wav", "b.wav", "c.wav")
        (tmp_path / "m.csv").write_text("path,id\na.wav,u1\nb.wav,u1\nc.wav,u2\n")
        message = error_of(tmp_path / "m.csv")
        assert "1 utterance ids" in message
        assert "'u1'" in message

    def test_a_repeated_path_without_ids_is_an_error(self, tmp_path):
        fill(tmp_path, "a.wav")
        (tmp_path / "m.csv").write_text("path\na.wav\na.wav\n")
        assert "'a.wav'" in error_of(tmp_path / "m.csv")

    def test_one_recording_may_be_two_utterances(self, tmp_path):
        fill(tmp_path, "a.wav")
        (tmp_path / "m.csv").write_text("path,id\na.wav,u2\na.wav,u1\n")
        assert ids(tmp_path / "m.csv") == ["u1", "u2"]

    def test_utterances_are_sorted_by_id(self, tmp_path):
        names = ["b.wav", "a/z.wav", "Z.wav", "a.wav", "10.wav", "9.wav"]
        fill(tmp_path, *names)
        (tmp_path / "m" / "x").mkdir(parents=True)
        manifest = tmp_path / "m" / "m.csv"
        manifest.write_text("path,id\n" + "".join(f"{tmp_path / name},{name}\n" for name in names))
        assert ids(manifest) == sorted(names)

    def test_every_error_is_one_line_that_starts_with_the_source(self, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "m.csv").write_text("name\na\n")
        for source in (tmp_path / "empty", tmp_path / "m.csv", tmp_path / "none", tmp_path / "none.csv"):
            message = error_of(source)
            assert message.startswith(f"{source}: ")
            assert "\n" not in message

    @given(names=st.lists(st.text("abc/#.é ", min_size=1, max_size=6), min_size=1, max_size=12))
    def test_ids_are_sorted_and_unique_or_an_error(self, tmp_path_factory, names):
        manifest = tmp_path_factory.mktemp("ids") / "m.jsonl"
        manifest.write_text("".join(json.dumps({"path": "a.wav", "id": name}) + "\n" for name in names))
        if len(set(names)) == len(names):
            assert ids(manifest) == sorted(names)
        else:
            assert f"{len({name for name in names if names.count(name) > 1})} utterance ids" in error_of(manifest)


def test_the_kinds_of_input_are_described_in_one_line():
    assert "\n" not in INPUT_KINDS
    assert all(kind in INPUT_KINDS for kind in ("directory", "CSV", "Kaldi", "Lhotse", "WebDataset", "Hugging Face"))


class TestSourceVersion:
    def version(self, path: Path) -> str:
        (ref,) = list_corpus(str(path))
        return ref.source_version

    def test_an_unchanged_file_keeps_its_version(self, tmp_path):
        fill(tmp_path, "a.wav")
        assert self.version(tmp_path / "a.wav") == self.version(tmp_path / "a.wav")

    def test_a_new_size_changes_the_version(self, tmp_path):
        path = fill(tmp_path, "a.wav") / "a.wav"
        os.utime(path, (1, 1))
        before = self.version(path)
        path.write_bytes(b"123456")
        os.utime(path, (1, 1))
        assert self.version(path) != before

    def test_a_new_time_changes_the_version(self, tmp_path):
        path = fill(tmp_path, "a.wav") / "a.wav"
        os.utime(path, ns=(1_700_000_000_000_000_000,) * 2)
        before = self.version(path)
        os.utime(path, ns=(1_700_000_000_001_000_000,) * 2)
        assert self.version(path) != before

    def test_the_version_does_not_depend_on_the_source(self, tmp_path):
        fill(tmp_path, "a.wav")
        (tmp_path.parent / "m.csv").write_text(f"path\n{tmp_path / 'a.wav'}\n")
        sources = (tmp_path, tmp_path / "a.wav", tmp_path / "*.wav", tmp_path.parent / "m.csv")
        assert len({self.version(source) for source in sources}) == 1

    def test_a_file_that_appears_later_has_another_version(self, tmp_path):
        (tmp_path / "m.csv").write_text("path\na.wav\n")
        before = self.version(tmp_path / "m.csv")
        fill(tmp_path, "a.wav")
        assert self.version(tmp_path / "m.csv") != before
