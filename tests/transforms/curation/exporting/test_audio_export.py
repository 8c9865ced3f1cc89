"""Exported audio has the bytes of the recording, or its samples."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.decoding import read_samples
from tests.support.exports import RATE, item, plan
from tests.support.media import encode_media
from tests.support.outputs import scored
from transforms.curation.exporting.chunks import export_files
from transforms.curation.exporting.plan import CHUNK
from transforms.curation.exporting.shards import export_shard
from transforms.curation.exporting.target import AudioTarget
from transforms.elements import ScoredUtterance


def export(
    utterances: Sequence[ScoredUtterance], folder: Path, target: AudioTarget | None = None, **how
) -> dict[str, dict]:
    chunks = plan(utterances, **how)
    files = [export_files(rows, str(folder), target or AudioTarget()) for rows in chunks]
    return {row["utterance_id"]: row for rows in files for row in rows}


@pytest.fixture
def waves() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (np.cumsum(rng.normal(0, 0.01, (3 * RATE, 2)), axis=0) % 0.5).astype(np.float64)


@pytest.mark.parametrize(
    ("coding", "suffix", "subtype"),
    [
        ("WAV/PCM_16", "flac", "PCM_16"),
        ("WAV/PCM_U8", "flac", "PCM_16"),
        ("WAV/ULAW", "flac", "PCM_16"),
        ("WAV/IMA_ADPCM", "flac", "PCM_16"),
        ("FLAC/PCM_24", "flac", "PCM_24"),
        ("AIFF/PCM_24", "flac", "PCM_24"),
        ("WAV/PCM_32", "wav", "PCM_32"),
        ("WAV/FLOAT", "wav", "FLOAT"),
        ("W64/DOUBLE", "wav", "DOUBLE"),
        ("OGG/VORBIS", "flac", "PCM_16"),
        ("MP3/MPEG_LAYER_III", "flac", "PCM_16"),
    ],
)
def test_no_sample_of_a_span_changes(tmp_path, waves, encode, coding, suffix, subtype):
    path = tmp_path / "recording"
    path.write_bytes(encode(waves, RATE, coding))
    whole, _ = soundfile.read(path, dtype="float64", always_2d=True)
    spans = {"late": (50_000, 9_000), "early": (123, 30_001), "overlapping": (20_000, 40_000)}
    items = [item(name, path, *span, channels=2) for name, span in spans.items()]
    items.append(item("right", path, 777, 5_000, channel=1, channels=2))
    found = export(items, tmp_path / "audio")
    for name, (start, samples) in spans.items():
        assert found[name]["path"] == f"{name}.{suffix}"
        with soundfile.SoundFile(tmp_path / "audio" / found[name]["path"]) as sound:
            assert (sound.samplerate, sound.subtype) == (RATE, subtype)
            apart = np.abs(sound.read(dtype="float64", always_2d=True) - whole[start : start + samples]).max()
            # Lossy codings are rounded to 16 bits.
            assert apart <= (2**-15 if coding.startswith(("MP3", "OGG")) else 0)
    right, _ = soundfile.read(tmp_path / "audio" / found["right"]["path"], dtype="float64")
    assert np.abs(right - whole[777:5_777, 1]).max() <= 2**-15
    assert not list((tmp_path / "audio").glob(".*"))


@pytest.mark.parametrize(
    ("kind", "suffix", "subtype"),
    [
        ("m4a", "flac", "PCM_16"),
        ("wma", "flac", "PCM_16"),
        ("alac", "flac", "PCM_16"),
        ("oga", "flac", "PCM_16"),
        (("mp3", "libmp3lame"), "flac", "PCM_16"),
    ],
)
def test_no_sample_of_a_span_of_other_formats_changes(tmp_path, waves, kind, suffix, subtype):
    path = tmp_path / "recording"
    path.write_bytes(encode_media(waves, RATE, kind, {"write_xing": "0"} if kind[0] == "mp3" else {}))
    whole = read_samples(path.read_bytes())
    spans = {"early": (123, 30_001), "late": (45_000, 9_000)}
    items = [item(name, path, *span, channels=2) for name, span in spans.items()]
    items.append(item("beyond", path, 60_000, 20_000, channels=2))
    found = export(items, tmp_path / "audio")
    for name, (start, samples) in spans.items():
        assert found[name]["path"] == f"{name}.{suffix}"
        exported = tmp_path / "audio" / found[name]["path"]
        assert soundfile.info(exported).subtype == subtype
        apart = np.abs(read_samples(exported.read_bytes()) - whole[start : start + samples]).max()
        assert apart <= (0 if kind in ("alac", "oga") else 2**-15)
    assert found["beyond"]["reason"] == "truncated"


@pytest.mark.parametrize(
    ("kind", "format", "suffix"),
    [("m4a", "MP4/AAC", "mp4"), ("webm", "MATROSKA/OPUS", "mka"), ("wma", "ASF/WMAV2", "wma")],
)
def test_whole_recordings_of_other_formats_keep_their_bytes(tmp_path, waves, kind, format, suffix):
    content = encode_media(waves[:, 0], 48_000, kind)
    for name in (f"a.{kind}", "no_suffix"):
        (tmp_path / name).write_bytes(content)
    items = [item(name, tmp_path / name, samples=len(waves), format=format) for name in (f"a.{kind}", "no_suffix")]
    found = export(items, tmp_path / "audio", has_spans=False)
    assert {row["path"] for row in found.values()} == {f"a.{kind}", f"no_suffix.{suffix}"}
    assert all((tmp_path / "audio" / row["path"]).read_bytes() == content for row in found.values())


def test_spans_are_written_as_wav_on_request(tmp_path, waves, encode):
    path = tmp_path / "a.flac"
    path.write_bytes(encode(waves, RATE, "FLAC/PCM_24"))
    found = export([item("a", path, 10, 5_000, channels=2)], tmp_path / "audio", AudioTarget("wav"))
    assert found["a"]["path"] == "a.wav"
    assert soundfile.info(tmp_path / "audio/a.wav").subtype == "PCM_24"


@pytest.mark.parametrize("has_spans", [False, True])
def test_whole_recordings_keep_their_bytes(tmp_path, waves, encode, has_spans):
    content = encode(waves, RATE, "WAV/PCM_16")
    for name in ("a.wav", "no_suffix", "misnamed.txt"):
        (tmp_path / name).write_bytes(content)
    items = [
        item(f"x/{name}", tmp_path / name, samples=len(waves), channels=2, format="WAV/PCM_16")
        for name in ("a.wav", "no_suffix", "misnamed.txt")
    ]
    found = export(items, tmp_path / "audio", has_spans=has_spans)
    assert {row["path"] for row in found.values()} == {"x/a.wav", "x/no_suffix.wav", "x/misnamed.txt.wav"}
    assert all((tmp_path / "audio" / row["path"]).read_bytes() == content for row in found.values())


def test_a_channel_of_several_is_cut_out(tmp_path, waves, encode):
    (tmp_path / "a.wav").write_bytes(encode(waves, RATE))
    items = [item(f"a.wav#ch{n}", tmp_path / "a.wav", samples=len(waves), channel=n, channels=2) for n in range(2)]
    found = export(items, tmp_path / "audio", has_spans=False)
    expected, _ = soundfile.read(tmp_path / "a.wav")
    for n in range(2):
        samples, _ = soundfile.read(tmp_path / "audio" / found[f"a.wav#ch{n}"]["path"])
        assert (samples == expected[:, n]).all()


def test_a_bad_recording_does_not_affect_others(tmp_path, waves, encode):
    content = encode(waves, RATE, "FLAC/PCM_16")
    for name in ("good.flac", "changed.flac", "gone.flac", "short.flac"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "broken.flac").write_bytes(content[:3_000] + bytes(len(content) - 3_000))
    names = ("broken", "changed", "gone", "good", "short")
    items = [item(name, tmp_path / f"{name}.flac", 40_000, 20_000, channels=2) for name in names]
    items.append(item("beyond", tmp_path / "good.flac", 60_000, 20_000, channels=2))
    (tmp_path / "changed.flac").write_bytes(content + b"more")
    (tmp_path / "gone.flac").unlink()
    found = export(items, tmp_path / "audio")
    assert {name: row["reason"] for name, row in found.items()} == {
        "broken": "corrupt",
        "changed": "changed",
        "gone": "unreadable",
        "good": None,
        "short": None,
        "beyond": "truncated",
    }
    assert {row["stage"] for row in found.values() if row["path"] is None} == {"export"}
    assert sorted(path.name for path in (tmp_path / "audio").iterdir()) == ["good.flac", "short.flac"]


def tar_of(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def test_members_of_archives(tmp_path, waves, encode):
    contents = [encode(waves * factor, RATE) for factor in (1.0, 0.5, 0.25)]
    tar_of(tmp_path / "s.tar", {f"x/{n}.wav": content for n, content in enumerate(contents)})
    pq.write_table(
        pa.table({"audio": [{"bytes": content, "path": f"{n}.wav"} for n, content in enumerate(contents)]}),
        tmp_path / "h.parquet",
    )
    ids = {
        "s.tar/x/0.wav": "s.tar#x/0.wav",
        "s.tar/x/2.wav": "s.tar#x/2.wav",
        "s.tar/x/9.wav": "s.tar#x/9.wav",
        "h.parquet/1.wav": "h.parquet#1.wav",
    }
    items = [
        item(name, f"{tmp_path}/{uri}", samples=len(waves), channels=2, format="WAV/PCM_16")
        for name, uri in ids.items()
    ]
    items.append(item("s.tar/x/2.wav#ch1", f"{tmp_path}/s.tar#x/2.wav", 0, len(waves), channel=1, channels=2))
    found = export(items, tmp_path / "audio")
    assert (tmp_path / "audio" / found["s.tar/x/2.wav"]["path"]).read_bytes() == contents[2]
    assert (tmp_path / "audio" / found["h.parquet/1.wav"]["path"]).read_bytes() == contents[1]
    missing = found["s.tar/x/9.wav"]
    assert (missing["reason"], missing["detail"]) == ("unreadable", "the recording is no longer in the archive")
    right, _ = soundfile.read(tmp_path / "audio" / found["s.tar/x/2.wav#ch1"]["path"])
    assert (right == soundfile.read(io.BytesIO(contents[2]))[0][:, 1]).all()


def test_existing_files_are_not_written_again(tmp_path, waves, encode):
    (tmp_path / "a.wav").write_bytes(encode(waves, RATE))
    items = [
        item("x/a.wav", tmp_path / "a.wav", samples=len(waves)),
        item("b", tmp_path / "a.wav", 5, 4_000, channels=2),
    ]
    first = export(items, tmp_path / "audio")
    os.utime(tmp_path / "audio/x/a.wav", (1, 1))
    (tmp_path / "audio/b.flac").unlink()
    assert export(items, tmp_path / "audio") == first
    assert (tmp_path / "audio/x/a.wav").stat().st_mtime == 1
    assert (tmp_path / "audio/b.flac").is_file()


def test_chunks_are_bounded_except_for_archives():
    items = [scored(f"{n:04d}.wav", 4.0) for n in range(CHUNK + 10)]
    items += [scored(f"s.tar/{n:04d}.wav", 4.0, uri=f"/corpus/s.tar#{n:04d}.wav") for n in range(CHUNK + 10)]
    chunks = plan(items, has_spans=False)
    assert sorted(map(len, chunks)) == [10, CHUNK, CHUNK + 10]
    assert sum(map(len, chunks)) == len(items)
    assert all(len({row["archive"] for row in chunk}) == 1 for chunk in chunks)


@pytest.fixture
def shards(tmp_path, waves, encode) -> tuple[list[list[dict]], Path]:
    (tmp_path / "a.wav").write_bytes(encode(waves, RATE))
    (tmp_path / "c.mp3").write_bytes(encode(waves, RATE, "MP3/MPEG_LAYER_III"))
    items = [
        item(f"x/u.{n}", tmp_path / "a.wav", 1_000 * n, 4_000, channels=2, columns={"speaker": f"s{n}"})
        for n in range(3)
    ]
    items.append(item("x/c.mp3", tmp_path / "c.mp3", samples=len(waves), channels=2))
    items.append(item("gone", tmp_path / "gone.wav", 5, 4_000))
    return plan(items, format="webdataset"), tmp_path / "shards"


def write_shards(chunks: list[list[dict]], folder: Path) -> dict[str, dict]:
    return {
        row["utterance_id"]: row
        for number, rows in enumerate(chunks)
        for row in export_shard(rows, str(folder), number, AudioTarget())
    }


def test_shards_as_webdataset_reads_them(shards, waves):
    webdataset = pytest.importorskip("webdataset")
    chunks, folder = shards
    found = write_shards(chunks, folder)
    assert found["gone"]["reason"] == "unreadable"
    tars = sorted(map(str, folder.iterdir()))
    assert [Path(tar).name for tar in tars] == ["shard-000000.tar", "shard-000001.tar", "shard-000002.tar"]
    samples = {
        sample["__key__"]: sample for sample in webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)
    }
    assert set(samples) == {"x/u_0", "x/u_1", "x/u_2", "x/c"}
    assert "mp3" in samples["x/c"]
    assert json.loads(samples["x/u_2"]["json"]) == {
        "id": "x/u.2",
        "score": 3.5,
        "duration": round(4_000 / RATE, 6),
        "sample_rate": RATE,
        "speaker": "s2",
    }
    read, rate = soundfile.read(io.BytesIO(samples["x/u_2"]["flac"]), dtype="float64")
    assert rate == RATE
    assert np.abs(read - waves[2_000:6_000]).max() < 2**-15


def test_shards_are_reproducible_and_only_missing_ones_are_written_again(shards):
    chunks, folder = shards
    first = write_shards(chunks, folder)
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    whole = first["x/u.0"]["path"]
    lost = next(name for name in contents if name != whole)
    (folder / lost).unlink()
    assert write_shards(chunks, folder) == first
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    assert (folder / whole).stat().st_mtime == 1


def test_a_shard_has_each_member_once_if_the_json_of_a_sample_is_no_object(tmp_path, waves, encode):
    webdataset = pytest.importorskip("webdataset")
    wave = encode(waves, RATE)
    tar_of(
        tmp_path / "s.tar",
        {
            "a.wav": wave,
            "a.json": b"[1, 2]",
            "b.wav": wave,
            "b.JSON": b'{"speaker": 7}',
            "c.wav": wave,
            "c.json": b"{}",
        },
    )
    items = [
        item(f"s.tar/{name}.wav", f"{tmp_path}/s.tar#{name}.wav", samples=len(waves), channels=2, format="WAV/PCM_16")
        for name in "abc"
    ]
    write_shards(plan(items, format="webdataset", shard_size=3), tmp_path / "shards")
    shard = str(tmp_path / "shards/shard-000000.tar")
    a, b, c = webdataset.WebDataset(shard, shardshuffle=False).decode()
    assert (a["json"], a["audiosieve.json"]["id"]) == ([1, 2], "s.tar/a.wav")
    assert (b["json"]["speaker"], b["json"]["id"]) == (7, "s.tar/b.wav")
    assert c["json"]["score"] == 3.5
    assert not {"audiosieve.json"} & {*b, *c}


def test_a_recording_of_a_table_gets_its_text_as_a_member(tmp_path, waves, encode):
    audio = [{"bytes": encode(waves, RATE), "path": "1.wav"}]
    pq.write_table(pa.table({"audio": audio}), tmp_path / "h.parquet")
    chunks = plan([item("h/1", f"{tmp_path}/h.parquet#1.wav", samples=len(waves), channels=2)], format="webdataset")
    chunks[0][0]["fields"] = json.dumps({"text": "good morning"})
    write_shards(chunks, tmp_path / "shards")
    with tarfile.open(tmp_path / "shards/shard-000000.tar") as tar:
        assert tar.extractfile("h/1.txt").read() == b"good morning"
