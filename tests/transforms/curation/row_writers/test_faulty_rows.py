"""Rows that the listing of a corpus rejects are left out of the manifest, and cost no other row a field."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.written_back import written_back


def text_of(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")


def objects_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in text_of(path).splitlines()]


def rows_of(path: Path) -> list[list[str]]:
    return [line.split(",") for line in text_of(path).splitlines()]


def test_json_lines(tmp_path):
    good = ['{"audio_filepath": "/a.wav", "x": [1, {"y": 2.0}]}', '{"audio_filepath": "/b.wav", "x": "2"}']
    faulty = ["{broken", "[1]", '{"x": 1}', '{"audio_filepath": "/c.wav", "offset": 3, "duration": -1}']
    source = tmp_path / "corpus.jsonl"
    source.write_bytes(
        "\n".join([faulty[0], good[0], *faulty[1:], '{"audio_filepath": "/d.wav", "x": "'])[:-1].encode()
        + b"\xff\n"
        + good[1].encode()
        + b'\n{"audio_filepath": "/a.wav", "x": "repeated"}\n'
    )
    lines = written_back(source, text_of).splitlines()
    assert [line[: len(text) - 1] for line, text in zip(lines, good, strict=True)] == [text[:-1] for text in good]


def test_csv(tmp_path):
    source = tmp_path / "corpus.csv"
    source.write_text('path,id,x\n/a.wav,a,1\n/b.wav\n/c.wav,c,"open\n,d,2\n/e.wav,a,repeated\n/f.wav,f,"3,\n4"\n')
    lines = written_back(source, text_of)
    assert lines.startswith("path,id,x,duration,score\n/a.wav,a,1,10.0,")
    assert "\n/f.wav,f,3,10.0," not in lines
    assert '\n/f.wav,f,"3,\n4",10.0,' in lines
    assert len(lines.splitlines()) == 4


def test_cells_of_tsv_keep_separators_of_unicode(tmp_path):
    source = tmp_path / "corpus.tsv"
    source.write_text("path\tx\n/a.wav\tone\u2028two\x0bthree\x85\n/b.wav\n", encoding="utf-8")
    (line,) = written_back(source, text_of).split("\n")[1:-1]
    assert line.startswith("/a.wav\tone\u2028two\x0bthree\x85\t")


def test_parquet_without_a_damaged_part(tmp_path):
    source = tmp_path / "corpus.parquet"
    rows = [{"path": f"/{number}.wav", "x": number} for number in range(6)]
    pq.write_table(pa.Table.from_pylist(rows), source, row_group_size=2, write_page_checksum=True, compression="none")
    content = source.read_bytes()
    place = content.index(b"/2.wav")
    source.write_bytes(content[:place] + b"\0" + content[place + 1 :])
    assert [row["x"] for row in written_back(source, lambda path: pq.read_table(path).to_pylist())] == [0, 1, 4, 5]


def test_kaldi(tmp_path):
    source = tmp_path / "corpus"
    source.mkdir()
    (source / "wav.scp").write_bytes(b"r1 /a.wav\nr2\nr1 /repeated.wav\nr\xff /x.wav\nr3 run me |\nr4 /d.wav\n")
    (source / "segments").write_bytes(
        b"u1 r1 0 x\nu1 r1 0 2.5\nu1 r4 1 2\nu2 r2 0 1\nu3 r3 0 1\nu\xff r1 0 1\nu4 r4 1 2\n"
    )
    (source / "text").write_bytes(b"u1 one\nu2 two\nu3 \xff\nu4 four\n")
    (source / "utt2note").write_text("u1 1\nu2 2\nu4 4\n")
    read = {
        name: written_back(source, lambda folder, name=name: text_of(folder / name))
        for name in ("wav.scp", "segments", "text", "utt2note")
    }
    assert read == {
        "wav.scp": "r1 /a.wav\nr4 /d.wav\n",
        "segments": "u1 r1 0 2.5\nu4 r4 1 2\n",
        "text": "u1 one\nu4 four\n",
        "utt2note": "u1 1\nu4 4\n",
    }


def test_the_relative_path_in_a_command_of_kaldi_becomes_absolute(tmp_path):
    source = tmp_path / "corpus"
    source.mkdir()
    (source / "wav.scp").write_text(
        "a flac -s -d -c 'x y.flac' 2>/dev/null |\nb sph2pipe -f wav -c 2 b.sph |\nc /c.wav\n"
    )
    lines = written_back(source, lambda folder: text_of(folder / "wav.scp")).splitlines()
    assert lines == [
        f"a flac -s -d -c '{source}/x y.flac' |",
        f"b sph2pipe -f wav -c 2 {source}/b.sph |",
        "c /c.wav",
    ]


def test_lhotse(tmp_path):
    def cut(name: str, kind: str, path: str, **fields) -> str:
        sources = [{"type": kind, "channels": [0], "source": path}]
        recording = {"id": "r", "sources": sources, "sampling_rate": 16_000, "num_samples": 160_000, "duration": 10.0}
        place = {"start": 0, "duration": 10.0, "channel": 0, "supervisions": [], "recording": recording}
        return json.dumps({"id": name, "type": "MonoCut", **place, **fields})

    lines = [
        cut("a", "file", "/a.wav", custom={"x": [1]}),
        "{broken",
        cut("a", "file", "/b.wav"),
        cut("c", "memory", "abc"),
        cut("d", "command", "flac -d -c d.flac"),
        json.dumps({"id": "m", "type": "MixedCut"}),
    ]
    source = tmp_path / "cuts.jsonl"
    source.write_text("\n".join(lines))
    first, second = written_back(source, objects_of)
    assert (first["id"], first["custom"]["x"], second["id"]) == ("a", [1], "d")
    assert second["recording"]["sources"][0]["source"] == f"flac -d -c {tmp_path}/d.flac"
