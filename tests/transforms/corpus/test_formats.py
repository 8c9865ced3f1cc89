"""The form of a corpus, and the archives of an output."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.outputs import scored, write_output
from transforms.corpus.formats import SourceKind, find_archives, is_listing, source_kind
from transforms.output.results import open_results

CUT = {"id": "c", "start": 0.5, "duration": 1.0, "channel": 0, "type": "MonoCut", "recording": {}}


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("c.csv", "id,path\na,b\n", SourceKind("csv", False)),
        ("c.csv", '"id","path","start","end"\na,b,0,1\n', SourceKind("csv", True)),
        ("c.tsv", "path\tsentence\n", SourceKind("tsv", False)),
        ("c.TSV", "path\toffset\n", SourceKind("tsv", True)),
        ("c.jsonl", '{"audio_filepath": "a", "duration": 3, "text": "offset"}\n', SourceKind("jsonl", False)),
        ("c.json", '{"audio_filepath": "a"}\n{"audio_filepath": "b", "offset": 1.5}\n', SourceKind("jsonl", True)),
        ("c.jsonl", json.dumps({"id": "a", "sources": [], "sampling_rate": 1}), SourceKind("lhotse", False)),
        ("c.jsonl", json.dumps(CUT), SourceKind("lhotse", True)),
        ("c.txt", "/a/b.wav\n", SourceKind("paths", False)),
        ("a.flac", "fLaC", SourceKind("paths", False)),
    ],
)
def test_the_suffix_and_the_content_of_a_file_decide(tmp_path, name, text, kind):
    (tmp_path / name).write_text(text)
    assert source_kind(str(tmp_path / name)) == kind
    if kind.format != "paths":
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        assert source_kind(str(tmp_path / f"{name}.gz")) == kind


def test_the_columns_of_parquet_decide(tmp_path):
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"path": ["a"], "start_s": [1.0]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"audio": [{"bytes": b"x", "path": "a"}]}), tmp_path / "c.parquet")
    kinds = [source_kind(str(tmp_path / f"{name}.parquet")) for name in "abc"]
    assert kinds == [SourceKind("parquet", False), SourceKind("parquet", True), SourceKind("paths", False)]
    assert source_kind(str(tmp_path / "*.parquet")) == SourceKind("parquet", True)


def test_a_directory_is_a_listing_or_a_kaldi_directory(tmp_path):
    (tmp_path / "a.csv").write_text("path,start\n")
    assert source_kind(str(tmp_path)) == SourceKind("paths", False)
    assert source_kind(str(tmp_path / "*")) == SourceKind("paths", False)
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    assert source_kind(str(tmp_path)) == SourceKind("kaldi", False)
    (tmp_path / "segments").write_text("a a 0 1\n")
    assert source_kind(str(tmp_path)) == source_kind(str(tmp_path / "wav.scp")) == SourceKind("kaldi", True)


@pytest.mark.parametrize(
    "name", ["deleted", "deleted.csv", "deleted/*.wav", "deleted*.csv", "broken.json", "broken.parquet"]
)
def test_deleted_and_damaged_sources_have_no_kind(tmp_path, name):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "broken.parquet").write_text("PAR1 without a footer")
    assert source_kind(str(tmp_path / name)) is None


def connection_of(root, *utterances):
    return open_results(str(write_output(root, utterances))).connect()


def test_ids_that_are_the_ends_of_paths_mean_a_directory(tmp_path):
    names = [scored("x/a.wav", 4.0), scored("b.wav#ch1", 4.0, uri="/corpus/b.wav")]
    assert is_listing(connection_of(tmp_path / "1", *names))
    assert not is_listing(connection_of(tmp_path / "2", *names, scored("other", 4.0, uri="/corpus/c.wav")))
    assert not is_listing(connection_of(tmp_path / "3", *names, scored("c.wav", 4.0, start_s=1.0)))


def test_archives_are_found_by_the_names_of_their_members(tmp_path):
    for name in ("a.tar", "b#1.tar", "c.tar#x.tar", "d.parquet", "strange.tar#file.wav"):
        (tmp_path / name).write_bytes(b"")
    uris = [
        "a.tar#m.wav",
        "a.tar#n.tar#o.wav",
        "b#1.tar#m.wav",
        "c.tar#x.tar#m.wav",
        "d.parquet#3",
        "strange.tar#file.wav",
        "deleted.tgz#m.wav",
        "plain.wav",
        "a#b.wav",
    ]
    connection = connection_of(
        tmp_path / "out", *(scored(f"u{number}", 4.0, uri=f"{tmp_path}/{uri}") for number, uri in enumerate(uris))
    )
    archives = find_archives(connection).to_pydict()
    names = [archive.removeprefix(f"{tmp_path}/") for archive in archives["archive"]]
    assert dict(zip(names, archives["kind"], strict=True)) == {
        "a.tar": "tar",
        "b#1.tar": "tar",
        "c.tar#x.tar": "tar",
        "d.parquet": "parquet",
        "deleted.tgz": "tar",
    }
