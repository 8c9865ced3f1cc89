"""Manifests of other programs: blanks, paths of other systems, spans under other names, missing values."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from transforms.corpus.listing import Corpus, ListingOptions
from transforms.corpus.sources import scan_corpus
from transforms.elements import Span

NAME = "été.wav"
NFC, NFD = (unicodedata.normalize(form, NAME) for form in ("NFC", "NFD"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav", "x/c d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def scan(path: Path, text: str, **options) -> Corpus:
    path.write_text(text, encoding="utf-8")
    return scan_corpus(str(path), ListingOptions(is_strict=False, **options))


def test_blanks_behind_the_delimiters_belong_to_no_cell(root):
    corpus = scan(root / "m.csv", 'id, path , text\n1, a.wav, hello\n2, b.wav , "hi, you"\n')
    assert not corpus.faulty
    assert [(ref.utterance_id, ref.uri, ref.columns) for ref in corpus.refs] == [
        ("1", str(root / "a.wav"), {"text": "hello"}),
        ("2", str(root / "b.wav"), {"text": "hi, you"}),
    ]


def test_blanks_in_cells_stay_if_the_header_has_none(root):
    (ref,) = scan(root / "m.csv", "path,text\na.wav, hello\n").refs
    assert ref.columns == {"text": " hello"}


@pytest.mark.parametrize("name", ["m.csv", "m.tsv"])
def test_rows_without_a_filled_cell_are_no_rows(root, name):
    text = "path,text,n\na.wav,x,1\n   \n,,\n , ,\nb.wav,y,2\n,\r\n"
    corpus = scan(root / name, text.replace(",", "\t") if name == "m.tsv" else text)
    assert [(ref.utterance_id, ref.fault) for ref in corpus.refs] == [("a.wav", None), ("b.wav", None)]


@pytest.mark.parametrize("path", [" a.wav ", "x\\c d.wav", ".\\x\\c d.wav", " x/c d.wav"])
def test_a_path_may_have_blanks_around_it_or_backslashes(root, path):
    (ref,) = scan(root / "m.jsonl", json.dumps({"path": path})).refs
    assert ref.size_bytes == 5
    assert (root / "a.wav", root / "x/c d.wav")[" d" in path].samefile(ref.uri)
    assert ref.utterance_id == path


@pytest.mark.parametrize(("stored", "written"), [(NFC, NFD), (NFD, NFC)])
def test_a_path_in_another_form_of_unicode_is_found(root, stored, written):
    (root / stored).write_bytes(b"1234567")
    (ref,) = scan(root / "m.csv", f"path\n{written}\n").refs
    assert (ref.uri, ref.size_bytes) == (str(root / stored), 7)


def test_the_file_with_the_name_as_it_is_written_comes_first(root):
    for name in (NFC, NFD, " a.wav"):
        (root / name).write_bytes(b"1234567")
    corpus = scan(root / "m.txt", f"{NFC}\n{NFD}\n")
    assert {ref.utterance_id: ref.uri for ref in corpus.refs} == {NFC: str(root / NFC), NFD: str(root / NFD)}
    assert scan(root / "m.csv", "path\n a.wav\n").refs[0].size_bytes == 7


@pytest.mark.parametrize(
    ("header", "times"),
    [
        ("start,stop", "0.5,1.25"),
        ("onset,offset", "0.5,1.25"),
        ("offset,onset", "1.25,0.5"),
        ("Onset (ms),Offset (ms)", "500,1250"),
        ("onset,duration", "0.5,0.75"),
        ("onset,end", "0.5,1.25"),
        ("time_start,time_end", "0.5,1.25"),
        ("offset,duration", "0.5,0.75"),
    ],
)
def test_other_names_of_spans(root, header, times):
    (ref,) = scan(root / "m.csv", f"path,{header}\na.wav,{times}\n").refs
    assert ref.span == Span(0.5, 1.25)


@pytest.mark.parametrize("header", ["start_sample,end_sample", "Start Frame,End Frame", "sample_start,sample_end"])
def test_spans_in_samples_are_not_left_out_silently(root, header):
    corpus = scan(root / "m.csv", f"path,{header}\na.wav,1600,3200\n")
    assert corpus.refs[0].span == Span()
    (note,) = corpus.notes
    assert "are not read, because they count samples or frames" in note
    assert all(repr(name) in note for name in header.split(","))
    assert not scan(root / "m.csv", f"path,start,end,{header}\na.wav,0,1,1600,3200\n").notes


def test_an_utterance_is_an_id_only_beside_a_text(root):
    said = scan(root / "m.csv", "path,utterance\na.wav,yes please\nb.wav,yes please\n")
    assert not said.faulty
    assert [(ref.utterance_id, ref.columns["utterance"]) for ref in said.refs] == [
        ("a.wav", "yes please"),
        ("b.wav", "yes please"),
    ]
    assert scan(root / "m.csv", "path,utterance,text\na.wav,u1,hi\n").refs[0].utterance_id == "u1"


def test_nan_is_a_missing_value(root):
    text = '{"path": "a.wav", "id": NaN, "text": NaN, "n": NaN}\n{"path": "b.wav", "id": "u", "text": "x", "n": 1.5}\n'
    first, second = scan(root / "m.jsonl", text).refs
    assert (first.utterance_id, first.columns) == ("a.wav", {"text": "", "n": ""})
    assert second.columns == {"text": "x", "n": "1.5"}
    (faulty,) = scan(root / "m.jsonl", '{"path": NaN}\n').faulty
    assert "the path is empty" in faulty.fault.detail
    (faulty,) = scan(root / "m.jsonl", '{"path": "a.wav", "start": NaN}\n').faulty
    assert "start is 'NaN', which is not a number of seconds" in faulty.fault.detail
