"""Columns of manifests under the names that people use, `--columns` and `--audio_root`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.corpus.columns import ColumnNames, is_span_column
from transforms.corpus.listing import Corpus, ListingOptions
from transforms.corpus.sources import SourceError, scan_corpus
from transforms.elements import Span


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.wav", "clips/a.wav", "clips/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def scan(path: Path, text: str, **options) -> Corpus:
    path.write_text(text, encoding="utf-8")
    return scan_corpus(str(path), ListingOptions(**options))


def error_of(path: Path, text: str, **options) -> str:
    with pytest.raises(SourceError) as caught:
        scan(path, text, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("path", "file_name", "filename", "file", "audio", "audio_path", "audio_filepath", "audio_file", "wav"),
        *("wav_path", "location", "url", "uri", "Path", "File Name", "AUDIO-PATH", " wav "),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_names_of_the_path(root, name, kind):
    path = root / f"m.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"lang": ["de"], name: ["a.wav"]}), path)
    elif kind == "jsonl":
        path.write_text(json.dumps({"lang": "de", name: "a.wav"}))
    else:
        tab = "," if kind == "csv" else "\t"
        path.write_text(f"lang{tab}{name}\nde{tab}a.wav\n")
    (ref,) = scan_corpus(str(path), ListingOptions()).refs
    assert (ref.uri, ref.columns) == (str(root / "a.wav"), {"lang": "de"})


@pytest.mark.parametrize("name", ["id", "utt_id", "utterance_id", "uttid", "Utterance ID", "segment_id", "key", "ID"])
def test_names_of_the_id(root, name):
    (ref,) = scan(root / "m.csv", f"path,{name}\na.wav,u1\n").refs
    assert ref.utterance_id == "u1"


@pytest.mark.parametrize(
    ("header", "times", "span"),
    [
        ("start_ms,end_ms", "500,1250", Span(0.5, 1.25)),
        ("start_ms,duration_ms", "500,750", Span(0.5, 1.25)),
        ("offset_ms,duration_sec", "500,0.75", Span(0.5, 1.25)),
        ("start_time,end_time", "0.5,1.25", Span(0.5, 1.25)),
        ("Start (ms),End (ms)", "500,1250", Span(0.5, 1.25)),
        ("begin,end", "0.5,1.25", Span(0.5, 1.25)),
        ("start_seconds,duration_seconds", "0.5,0.75", Span(0.5, 1.25)),
        ("start_us,end_us", "500000,1250000", Span(0.5, 1.25)),
    ],
)
def test_names_and_units_of_times(root, header, times, span):
    (ref,) = scan(root / "m.csv", f"path,{header}\na.wav,{times}\n").refs
    assert ref.span == span


def test_the_error_of_a_time_has_its_own_unit(root):
    assert "start_ms is 'x'" in error_of(root / "m.csv", "path,start_ms\na.wav,x\n")


def test_a_semicolon_or_a_bar_may_separate_cells(root):
    for delimiter in ";|\t":
        (ref,) = scan(root / "m.csv", "path;id;note\na.wav;u1;x, y\n".replace(";", delimiter)).refs
        assert (ref.utterance_id, ref.columns) == ("u1", {"note": "x, y"})


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("path,wav", "'path' and 'wav'"),
        ("audio,file_name", "'audio' and 'file_name'"),
        ("url,location", "'location' and 'url'"),
    ],
)
def test_two_paths_are_refused_with_a_sentence(root, header, said):
    message = error_of(root / "m.csv", f"{header}\na.wav,clips/b.wav\n", is_strict=False)
    assert f"the columns {said} may both be the path of the recording; choose one with --columns path=" in message


def test_the_only_column_whose_files_exist_is_the_path_and_the_user_is_told(root):
    corpus = scan(root / "m.csv", "wav,audio_path\nno.wav,a.wav\n")
    assert (corpus.refs[0].utterance_id, corpus.refs[0].columns) == ("a.wav", {"wav": "no.wav"})
    assert corpus.notes == (
        f"{root}/m.csv: the path of the recording is the column 'audio_path', not 'wav'; choose another one with --columns "
        "path=wav",
    )


def test_a_url_beside_a_path_is_carried(root):
    corpus = scan(root / "m.csv", "url,path\nhttps://example.org/a.wav,a.wav\n")
    assert corpus.refs[0].columns == {"url": "https://example.org/a.wav"}
    assert not corpus.notes


class TestChosenColumns:
    def test_each_role_may_have_any_column(self, root):
        columns = {
            "path": "clip no",
            "id": "name",
            "start": "from_ms",
            "end": "to",
            "text": "words said",
            "speaker": "who",
        }
        text = "clip no,name,from_ms,to,words said,who,path,id\nclips/b.wav,u1,500,1.25,good day,ann,a.wav,7\n"
        corpus = scan(root / "m.csv", text, columns=columns, carry=frozenset({"who"}))
        (ref,) = corpus.refs
        assert (ref.utterance_id, ref.uri, ref.span) == ("u1", str(root / "clips/b.wav"), Span(0.5, 1.25))
        assert corpus.carried == ("text", "speaker")
        assert ref.columns == {"who": "ann", "text": "good day", "speaker": "ann"}

    def test_an_empty_name_takes_a_role_away(self, root):
        (ref,) = scan(root / "m.csv", "path,id\na.wav,ann\n", columns={"id": ""}).refs
        assert (ref.utterance_id, ref.columns) == ("a.wav", {"id": "ann"})

    @pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
    def test_a_column_that_is_missing_is_refused(self, root, name):
        text = "path,lang\na.wav,de\n" if name == "m.csv" else '{"path": "a.wav", "lang": "de"}\n'
        for role in ("path", "id", "duration", "text"):
            message = error_of(root / name, text, columns={role: "nothing"})
            assert f"--columns {role}=nothing names no column" in message
            assert "lang" in message

    @pytest.mark.parametrize("name", ["list.txt", "folder", "data", "folder/a.wav"])
    def test_a_corpus_without_columns_refuses_them(self, root, name):
        (root / "list.txt").write_text("a.wav\n")
        (root / "folder").mkdir()
        (root / "folder/a.wav").write_bytes(b"1")
        (root / "data").mkdir()
        (root / "data/wav.scp").write_text("a a.wav\n")
        with pytest.raises(SourceError, match="--columns"):
            scan_corpus(str(root / name), ListingOptions(columns={"path": "x"}))


class TestAudioRoot:
    @pytest.mark.parametrize("name", ["m.csv", "m.txt", "m.jsonl", "cuts.jsonl", "wav.scp"])
    def test_relative_paths_are_resolved_against_it_and_not_against_the_manifest(self, root, name):
        recording = {
            "id": "r",
            "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
            "sampling_rate": 16000,
        }
        text = {
            "m.csv": "path\na.wav\n",
            "m.txt": "a.wav\n",
            "m.jsonl": '{"path": "a.wav"}\n',
            "cuts.jsonl": json.dumps(recording),
            "wav.scp": "r a.wav\n",
        }[name]
        (ref,) = scan(root / name, text, audio_root=str(root / "clips")).refs
        assert ref.uri == str(root / "clips/a.wav")
        (ref,) = scan(root / name, text.replace("a.wav", f"{root}/a.wav"), audio_root=str(root / "clips")).refs
        assert ref.uri == str(root / "a.wav")

    def test_a_missing_file_is_not_looked_for_elsewhere(self, root):
        (ref,) = scan(root / "m.csv", "path\na.wav\n", audio_root=str(root / "none")).refs
        assert (ref.uri, ref.size_bytes) == (str(root / "none/a.wav"), 0)

    def test_a_directory_refuses_it(self, root):
        with pytest.raises(SourceError, match="--audio_root applies to manifests"):
            scan_corpus(str(root / "clips"), ListingOptions(audio_root=str(root)))


def test_only_carried_columns_are_kept_in_memory(root):
    corpus = scan(root / "m.csv", "path,a,b,c\na.wav,1,2,3\n", carry=frozenset({"b"}))
    assert corpus.refs[0].columns == {"b": "2"}
    assert corpus.columns == {"path", "a", "b", "c"}


def test_roles_of_the_same_columns_are_found_once():
    names = ColumnNames({})
    assert names.roles(("path", "x")) is names.roles(("path", "x"))


def test_columns_of_spans_are_known():
    assert all(map(is_span_column, ["start", "offset", "end_s", "Start_MS", "begin"]))
    assert not any(map(is_span_column, ["duration", "path", "text"]))
