"""Exported audio has the bytes of the recording, or its samples."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.decoding import read_samples
from tests.support.kept_lists import list_all, of_channel
from tests.support.media import encode_media
from tests.support.outputs import scored
from transforms.curation.audio_export import export_files, export_shard
from transforms.curation.export_plan import CHUNK, export_stem, write_export_plan
from transforms.elements import ScoredUtterance
from transforms.storage.files import look_at

RATE = 22_050


def plan(utterances: Sequence[ScoredUtterance], *, has_spans: bool = True, format: str = "flac", shard_size: int = 2):
    """The chunks of a plan for all utterances, each a list of rows."""
    with tempfile.TemporaryDirectory() as folder:
        kept = list_all(Path(folder) / "out", utterances, ["speaker"], has_spans)
        path = Path(folder) / "plan.parquet"
        chunks = write_export_plan(kept, path, format, shard_size)
        file = pq.ParquetFile(path)
        assert file.num_row_groups == chunks
        return [file.read_row_group(number).to_pylist() for number in range(chunks)]


def item(
    name: str,
    uri: Path | str,
    start: int = 0,
    samples: int = RATE,
    channel: int | None = None,
    channels: int = 1,
    **more,
) -> ScoredUtterance:
    """An utterance of an existing recording; a member has the version of its archive."""
    made = scored(name, 3.5, uri=str(uri), start_s=start / RATE, duration_s=samples / RATE, sample_rate=RATE, **more)
    version = look_at(str(uri).partition("#")[0]).source_version
    ref = dataclasses.replace(made.utterance.ref, source_version=version)
    made = dataclasses.replace(made, utterance=dataclasses.replace(made.utterance, ref=ref))
    return of_channel(made, channels, channel)


def export(utterances: Sequence[ScoredUtterance], folder: Path, container: str = "flac", **how) -> dict[str, dict]:
    chunks = plan(utterances, **how)
    return {row["utterance_id"]: row for rows in chunks for row in export_files(rows, str(folder), container)}


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
        ("OGG/VORBIS", "wav", "FLOAT"),
        ("MP3/MPEG_LAYER_III", "wav", "FLOAT"),
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
            # `soundfile.read` seeks first, which changes the last bits of decoded MP3.
            assert apart <= (2**-22 if coding.startswith("MP3") else 0)
    right, _ = soundfile.read(tmp_path / "audio" / found["right"]["path"], dtype="float64")
    assert np.abs(right - whole[777:5_777, 1]).max() <= 2**-22
    assert not list((tmp_path / "audio").glob(".*"))


@pytest.mark.parametrize(
    ("kind", "suffix", "subtype"),
    [
        ("m4a", "wav", "FLOAT"),
        ("wma", "wav", "FLOAT"),
        ("alac", "flac", "PCM_16"),
        ("oga", "flac", "PCM_16"),
        (("mp3", "libmp3lame"), "wav", "FLOAT"),
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
        assert np.array_equal(read_samples(exported.read_bytes()), whole[start : start + samples])
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
    found = export([item("a", path, 10, 5_000, channels=2)], tmp_path / "audio", "wav")
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


IDS = st.lists(
    st.lists(
        st.sampled_from(
            [
                *(
                    "a",
                    "A",
                    "..",
                    ".",
                    "",
                    "a.wav",
                    "a.flac",
                    "b.c",
                    "b_c",
                    "#1",
                    "gs:",
                    "x" * 300,
                    "n\nl",
                    "~",
                    "\x85",
                ),
                *("\u00e9", "e\u0301", "\u00c9", "con", "AUX.tar", "a ", "a.", "a. .", "\u6587" * 90, "e\u0301" * 90),
                *("y" * 199 + "\u6587", "stra\u00dfe", "STRASSE", "a|b", "a?b"),
            ]
        ),
        min_size=1,
        max_size=9,
    )
    .map("/".join)
    .filter(bool),
    min_size=1,
    max_size=8,
    unique=True,
)


@settings(max_examples=40)
@given(IDS, st.sampled_from(["flac", "webdataset"]))
def test_names_are_different_and_stay_in_the_folder(ids, format):
    rows = [row for chunk in plan([scored(name, 4.0) for name in ids], format=format, shard_size=3) for row in chunk]
    stems = [row["stem"] for row in rows]
    assert sorted(row["utterance_id"] for row in rows) == sorted(ids)
    for form in ("NFC", "NFD"):
        assert len({unicodedata.normalize(form, stem.casefold()) for stem in stems}) == len(ids)
    folders = {str(parent).casefold() for stem in stems for parent in PurePosixPath(stem).parents}
    assert not folders & {f"{stem}.{suffix}".casefold() for stem in stems for suffix in ("flac", "wav")}
    for stem in stems:
        parts = PurePosixPath(stem).parts
        assert not stem.startswith("/")
        assert ".." not in parts
        assert len(stem.encode()) < 750
        for part in parts:
            assert len(part.encode()) < 250
            assert not re.search(r'[<>:"|?*\\]|[. ]$', part)
            assert not re.match(r"(?i)(con|aux|prn|nul)(\.|$)", part)
        assert stem.isprintable()
        if format == "webdataset":
            assert "." not in parts[-1]


@pytest.mark.parametrize(
    ("utterance_id", "stem"),
    [
        ("a/b.c/d-1_2#3 4.wav", "a/b.c/d-1_2#3 4"),
        ("\u6587/e\u0301.flac", "\u6587/e\u0301"),
        ("nul.wav", "_nul"),
        ("com1.old/lpt9/x.wav", "_com1.old/_lpt9/x"),
        ("end. ./x", "end___/x"),
        ("talk.wav/1.wav", "talk_wav/1"),
        ("tab\there\x9f", "tab_here_"),
        ("../../etc/passwd", "_/_/etc/passwd"),
        ("\u6587" * 66 + "x.wav", "\u6587" * 66 + "x"),
    ],
)
def test_a_name_changes_only_where_a_file_system_refuses_it(utterance_id, stem):
    assert export_stem(utterance_id) == stem


def test_long_names_are_cut_between_characters_and_stay_different():
    ids = ["\u6587" * 80 + tail for tail in ("a", "b", "a.x")]
    stems = {export_stem(name) for name in ids}
    assert len(stems) == 3
    assert all(stem.startswith("\u6587" * 63 + "-") and len(stem.encode()) <= 200 for stem in stems)


def test_deep_folders_become_one():
    deep = "/".join(f"{number:03d}-{'d' * 190}" for number in range(30))
    stems = [export_stem(f"{deep}/{name}.wav") for name in ("one", "two")]
    assert len({stem.rpartition("/")[0] for stem in stems}) == 1
    assert stems[0].startswith("000-")
    assert stems[0].endswith("/one")
    assert len(stems[0].encode()) <= 700
    assert stems[0].rpartition("/")[0] != export_stem(f"{deep}/deeper/one.wav").rpartition("/")[0]


def test_names_that_a_hash_does_not_tell_apart_get_a_longer_one():
    taken = f"A-{hashlib.md5(b'a').hexdigest()[:8]}"
    rows = [row for chunk in plan([scored(name, 4.0) for name in ("a", "A", taken)]) for row in chunk]
    assert len({row["stem"].casefold() for row in rows}) == 3


@pytest.mark.parametrize("format", ["flac", "webdataset"])
def test_utterances_with_difficult_names_are_exported(tmp_path, waves, encode, format):
    (tmp_path / "a.wav").write_bytes(encode(waves, RATE))
    deep = "/".join(["d" * 200] * 25)
    names = ["\u6587" * 90, "\u00e9", "e\u0301", "x", "X", "con", "a.", "a\tb", f"{deep}/x", "x.flac/y"]
    items = [item(name, tmp_path / "a.wav", 100 * n, 4_000, channels=2) for n, name in enumerate(names)]
    chunks = plan(items, format=format, shard_size=20)
    rows = [
        done
        for number, chunk in enumerate(chunks)
        for done in (
            export_shard(chunk, str(tmp_path / "out"), number)
            if format == "webdataset"
            else export_files(chunk, str(tmp_path / "out"), "flac")
        )
    ]
    assert sorted(row["utterance_id"] for row in rows if row["path"]) == sorted(names)
    if format == "webdataset":
        with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
            assert len(set(tar.getnames())) == 2 * len(names)
    else:
        assert len({soundfile.read(tmp_path / "out" / row["path"])[0].tobytes() for row in rows}) == len(names)


def test_a_name_that_the_file_system_refuses_costs_no_other_file(tmp_path, waves, encode):
    (tmp_path / "a.wav").write_bytes(encode(waves, RATE))
    chunk = plan([item(name, tmp_path / "a.wav", 0, 4_000, channels=2) for name in ("a", "b", "c")])[0]
    chunk[0]["stem"] = "x" * 300
    (tmp_path / "out" / "b.flac" / "in_the_way").mkdir(parents=True)
    found = {row["utterance_id"]: row for row in export_files(chunk, str(tmp_path / "out"), "flac", resume=False)}
    assert {name: row["reason"] for name, row in found.items()} == {"a": "unwritable", "b": "unwritable", "c": None}
    assert "File name too long" in found["a"]["detail"]
    assert found["c"]["path"] == "c.flac"


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
        for row in export_shard(rows, str(folder), number)
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
