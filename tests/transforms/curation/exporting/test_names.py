"""Exported files have names that any file system can hold, and that are unique there."""

from __future__ import annotations

import hashlib
import re
import tarfile
import unicodedata
from pathlib import PurePosixPath

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.exports import RATE, item, plan
from tests.support.outputs import scored
from transforms.curation.exporting.chunks import export_files
from transforms.curation.exporting.plan import export_stem
from transforms.curation.exporting.shards import export_shard
from transforms.curation.exporting.target import AudioTarget


@pytest.fixture
def waves() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (np.cumsum(rng.normal(0, 0.01, (3 * RATE, 2)), axis=0) % 0.5).astype(np.float64)


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
            export_shard(chunk, str(tmp_path / "out"), number, AudioTarget())
            if format == "webdataset"
            else export_files(chunk, str(tmp_path / "out"), AudioTarget())
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
    found = {
        row["utterance_id"]: row for row in export_files(chunk, str(tmp_path / "out"), AudioTarget(), resume=False)
    }
    assert {name: row["reason"] for name, row in found.items()} == {"a": "unwritable", "b": "unwritable", "c": None}
    assert "File name too long" in found["a"]["detail"]
    assert found["c"]["path"] == "c.flac"
