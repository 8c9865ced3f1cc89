"""`audiosieve filter` reads the manifest of a corpus as `audiosieve score` did: with its options, and in known layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.command import audiosieve
from tests.support.paths import ROOT
from tests.support.written_back import written_back
from transforms.output.results import open_results

AUDIO = ROOT / "tests/samples/audio"


def test_the_options_of_the_listing(tmp_path, monkeypatch):
    """The folder of `--audio_root` is relative to the directory of the run, not to that of the filter."""
    (tmp_path / "wav").mkdir()
    shutil.copy(AUDIO / "clean.flac", tmp_path / "wav/a.flac")
    (tmp_path / "elsewhere").mkdir()
    source = tmp_path / "elsewhere/corpus.csv"
    source.write_text("path,clip,begin_ms,stop,note\nx,a.flac,500,1.5,one\ny,a.flac,z,2,faulty\nx,a.flac,0,1,three\n")
    output = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    options = ["--audio_root", "wav", "--columns", "path=clip,end=stop,start=begin_ms,id="]
    audiosieve("score", "--input", source, "--output", output, *options, "--direct_num_workers=1")
    assert open_results(str(output)).listing_options.audio_root == str(tmp_path / "wav")
    monkeypatch.chdir("/")
    done = audiosieve("filter", output, "--output", tmp_path / "keep", "--rules", "none")
    assert "changed" not in done.stdout
    lines = (tmp_path / "keep/manifest.csv").read_text().splitlines()
    assert lines[0] == "path,clip,begin_ms,stop,note,id,duration,score"
    audio = tmp_path / "wav/a.flac"
    assert [line.split(",")[:5] for line in lines[1:]] == [
        ["x", str(audio), "500", "1.5", "one"],
        ["x", str(audio), "0", "1", "three"],
    ]


def write_table(folder: Path, name: str) -> list[dict]:
    rows = [{"file_name": f"{number}.wav", "text": "a", "n": number, "deep": {"x": [number]}} for number in range(3)]
    folder.mkdir(parents=True)
    for row in rows:
        (folder / row["file_name"]).touch()
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    else:
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return rows


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.parquet"])
@pytest.mark.parametrize("split", ["", "train"])
def test_the_table_of_an_audiofolder_keeps_its_format_and_types(tmp_path, name, split):
    rows = write_table(tmp_path / "corpus" / split, name)

    def read(path: Path) -> list[dict]:
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pylist()
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    for source in (tmp_path / "corpus", tmp_path / "corpus" / split / name):
        written = written_back(source, read)
        expected = [{**row, "file_name": f"{tmp_path / 'corpus' / split / row['file_name']}"} for row in rows]
        assert [{name: row[name] for name in rows[0]} for row in written] == expected


def test_common_voice(tmp_path):
    folder = tmp_path / "cv"
    (folder / "clips").mkdir(parents=True)
    (folder / "clips/a.mp3").touch()
    (folder / "validated.tsv").write_text('client_id\tpath\tsentence\tup_votes\n1\ta.mp3\tsay "hi\t3\n2\tb.mp3\n')
    lines = written_back(folder, lambda path: path.read_text().splitlines())
    assert lines[0].split("\t")[:4] == ["client_id", "path", "sentence", "up_votes"]
    assert [line.split("\t")[:4] for line in lines[1:]] == [["1", f"{folder}/clips/a.mp3", 'say "hi', "3"]]
