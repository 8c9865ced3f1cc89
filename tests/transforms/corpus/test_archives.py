"""Archives of recordings: what is in them, under which ids, and that nothing of a broken one is lost in silence."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import random
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.buckets import bucket
from transforms.audio.decode import decode
from transforms.corpus import archives
from transforms.corpus.archives import audio_columns, members
from transforms.corpus.sources import list_corpus
from transforms.elements import AudioRef
from transforms.errors import AudioFault, Reason

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + b"\0" * 28
HF_AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def tar(path: Path, *entries: tuple[str, Any], mode: str = "w", form: int = tarfile.USTAR_FORMAT) -> Path:
    """Writes a tar: names with bytes, or with a type of header."""
    with tarfile.open(path, mode, format=form) as file:  # type: ignore[call-overload]
        for name, content in entries:
            header = tarfile.TarInfo(name)
            if isinstance(content, bytes) and len(content) != 1:
                header.size = len(content)
                file.addfile(header, io.BytesIO(content))
            else:
                header.type, header.linkname = content, "elsewhere.wav"
                file.addfile(header)
    return path


def parquet(path: Path, rows: list[dict[str, Any]], kind: pa.DataType = HF_AUDIO, **how: Any) -> Path:
    """Writes rows with the column `audio`, as `datasets` does."""
    names = [name for name in rows[0] if name != "audio"]
    columns = {"audio": pa.array([row["audio"] for row in rows], kind)}
    columns |= {name: pa.array([row[name] for row in rows]) for name in names}
    pq.write_table(pa.table(columns), path, **how)
    return path


def read(source: object) -> list[tuple[AudioRef, bytes | AudioFault]]:
    """What is in the archives of a corpus, read to its end."""
    found = []
    for ref in list_corpus(str(source)):
        for member, content in members(ref):
            found.append((member, content if isinstance(content, AudioFault) else content.read()))
    return found


def outline(source: object) -> list[tuple[str, object]]:
    return [
        (ref.utterance_id, content.reason if isinstance(content, AudioFault) else content)
        for ref, content in read(source)
    ]


class TestListing:
    @pytest.mark.parametrize("name", ["s.tar", "s.tar.gz", "s.tgz", "S.TAR"])
    def test_a_tar_is_one_entry_in_a_directory_a_glob_and_alone(self, tmp_path, name):
        path = tar(tmp_path / "x" / name if (tmp_path / "x").mkdir() is None else tmp_path, ("a.wav", WAV))
        for source, utterance_id in ((tmp_path, f"x/{name}"), (tmp_path / "*/*", f"x/{name}"), (path, name)):
            (ref,) = list_corpus(str(source))
            assert (ref.utterance_id, ref.archive, ref.size_bytes) == (utterance_id, "tar", path.stat().st_size)

    def test_parquet_with_audio_is_an_archive_and_other_parquet_is_a_file_or_a_manifest(self, tmp_path):
        parquet(tmp_path / "audio.parquet", [{"audio": {"bytes": WAV, "path": "a.wav"}, "path": "no.wav"}])
        pq.write_table(pa.table({"path": ["a.wav"]}), tmp_path / "names.parquet")
        (tmp_path / "broken.parquet").write_bytes(b"x" * 99)
        kinds = {ref.utterance_id: ref.archive for ref in list_corpus(str(tmp_path))}
        assert kinds == {"audio.parquet": "parquet", "names.parquet": None, "broken.parquet": None}
        assert [ref.archive for ref in list_corpus(str(tmp_path / "audio.parquet"))] == ["parquet"]
        assert [ref.utterance_id for ref in list_corpus(str(tmp_path / "names.parquet"))] == ["a.wav"]
        assert {ref.utterance_id for ref in list_corpus(str(tmp_path / "[an]*.parquet"))} == {"audio.parquet", "a.wav"}

    def test_in_a_bucket(self, tmp_path):
        tar(tmp_path / "s.tar.gz", ("a.wav", WAV), mode="w:gz")
        parquet(tmp_path / "s.parquet", [{"audio": {"bytes": WAV, "path": None}}])
        assert outline(bucket(tmp_path)) == [("s.parquet/0", WAV), ("s.tar.gz/a.wav", WAV)]
        for name in ("s.tar.gz", "s.parquet"):
            (ref,) = list_corpus(bucket(tmp_path / name))
            assert (ref.utterance_id, ref.size_bytes) == (name, (tmp_path / name).stat().st_size)

    def test_a_column_that_says_it_is_an_image_holds_no_recordings(self):
        schema = pa.schema({"image": HF_AUDIO, "sound": HF_AUDIO, "plain": pa.string()})
        assert audio_columns(schema) == ["image", "sound"]
        features = {"image": {"_type": "Image"}, "sound": {"_type": "Audio"}, "plain": {"_type": "Value"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        assert audio_columns(schema.with_metadata(metadata)) == ["sound"]


class TestTar:
    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_members_are_recordings_with_ids_and_bytes_of_their_own(self, tmp_path, mode, form):
        long = "é" * 60 + "/" + "x" * 90 + ".flac"
        path = tar(tmp_path / "s.tar", ("./x/", tarfile.DIRTYPE), ("./x/a.wav", WAV), (long, b"fLaC" * 99_999), mode=mode,
                   form=form)  # fmt: skip
        (first, _), (second, content) = read(path)
        assert (first.utterance_id, first.uri, first.size_bytes) == ("s.tar/x/a.wav", f"{path}#x/a.wav", len(WAV))
        assert (second.utterance_id, content) == (f"s.tar/{long}", b"fLaC" * 99_999)
        (ref,) = list_corpus(str(path))
        assert {first.source_version, second.source_version} == {ref.source_version}
        assert (first.archive, first.columns) == (None, {})

    @pytest.mark.parametrize(
        ("name", "content", "is_one"),
        [
            ("a.WAV", b"no audio", True),
            ("a.flac", b"", True),
            ("a", WAV, True),
            ("a.audio", b"fLaC....", True),
            ("a.bin", b"OggS....", True),
            ("a.bin", b"ID3\x04...", True),
            ("a.bin", b"\0\0\0\x20ftypM4A ....", True),
            ("a.bin", b"FORM....AIFF", True),
            ("a.bin", b"RIFF....AVI ", False),
            ("a.txt", b"RIFFS are what we play", False),
            ("a.json", b'{"x": 1}', False),
            ("a.cls", b"3" * 2, False),
            ("a.jpg", b"\xff\xd8\xff\xe0", False),
            ("wav", b"text", False),
            ("a.mp3", tarfile.DIRTYPE, False),
        ],
    )
    def test_what_is_a_recording(self, tmp_path, name, content, is_one):
        path = tar(tmp_path / "s.tar", (name, content), ("z.wav", WAV))
        assert (f"s.tar/{name}" in [utterance for utterance, _ in outline(path)]) == is_one

    def test_large_members_without_a_known_name_are_whole(self, tmp_path):
        content = WAV + random.Random(0).randbytes(300_000)
        assert outline(tar(tmp_path / "s.tar", ("a", content), ("b.txt", b"x" * 99_999), ("c", content))) == [
            ("s.tar/a", content),
            ("s.tar/c", content),
        ]

    @pytest.mark.parametrize(
        "order", [("json", "wav"), ("wav", "json"), ("cls", "json", "txt", "wav"), ("wav", "txt", "json")]
    )
    def test_json_of_the_same_sample_gives_columns(self, tmp_path, order):
        about = {"speaker": "alicé", "n": 3, "ok": True, "none": None, "list": [1], "object": {"x": 1}}
        content = {"wav": WAV, "json": json.dumps(about).encode(), "txt": b"hello", "cls": b"33"}
        entries = [(f"x/{key}.{kind}", content[kind]) for key in ("1", "2") for kind in order]
        found = read(tar(tmp_path / "s.tar", *entries))
        assert [ref.utterance_id for ref, _ in found] == ["s.tar/x/1.wav", "s.tar/x/2.wav"]
        assert all(ref.columns == {"speaker": "alicé", "n": "3", "ok": "true", "none": ""} for ref, _ in found)

    def test_json_of_another_sample_gives_none(self, tmp_path):
        path = tar(tmp_path / "s.tar", ("1.json", b'{"x": 1}'), ("2.wav", WAV), ("3.json", b'{"x": 3}'))
        assert [dict(ref.columns) for ref, _ in read(path)] == [{}]

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 99_999, b'"x"'])
    def test_json_that_makes_no_sense_is_no_matter(self, tmp_path, content):
        path = tar(tmp_path / "s.tar", ("1.json", content), ("1.wav", WAV))
        assert outline(path) == [("s.tar/1.wav", WAV)]

    def test_a_name_that_stands_twice_is_a_fault_under_an_id_of_its_own(self, tmp_path):
        path = tar(tmp_path / "s.tar", ("a.wav", WAV), ("./a.wav", b"other"), ("b.wav", WAV), ("a.wav", WAV))
        assert outline(path) == [
            ("s.tar/a.wav", WAV),
            ("s.tar/a.wav#2", Reason.DUPLICATE_ID),
            ("s.tar/b.wav", WAV),
            ("s.tar/a.wav#3", Reason.DUPLICATE_ID),
        ]

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
    def test_links_and_devices_are_no_recordings(self, tmp_path, kind):
        path = tar(tmp_path / "s.tar", ("a.wav", kind), ("a.txt", kind), ("a.json", kind), ("b.wav", WAV))
        assert outline(path) == [("s.tar/a.wav", Reason.NOT_A_FILE), ("s.tar/b.wav", WAV)]

    def test_names_that_are_not_utf_8(self, tmp_path):
        path = tar(tmp_path / "s.tar", ("caf\udce9.wav", WAV))
        ((ref, content),) = read(path)
        assert (ref.utterance_id, ref.uri, content) == (r"s.tar/caf\xe9.wav", rf"{path}#caf\xe9.wav", WAV)

    @pytest.mark.parametrize("entries", [[], [("a.txt", b"text")]])
    def test_an_archive_without_a_recording_is_a_fault(self, tmp_path, entries):
        assert outline(tar(tmp_path / "s.tar", *entries)) == [("s.tar", Reason.EMPTY_ARCHIVE)]

    def test_a_file_without_bytes_is_a_fault(self, tmp_path):
        (tmp_path / "s.tar").write_bytes(b"")
        assert outline(tmp_path / "s.tar") == [("s.tar", Reason.EMPTY_ARCHIVE)]

    # With names: gzip writes the time, and processes that share the tests must give them the same ones.
    @pytest.mark.parametrize(
        "content",
        [b"no tar at all" * 99, b"\x1f\x8bno gzip", b"\x1f", gzip.compress(b"no tar" * 999)],
        ids=["text", "no gzip", "one byte", "gzipped text"],
    )
    def test_what_is_no_tar_is_a_fault(self, tmp_path, content):
        (tmp_path / "s.tar").write_bytes(content)
        assert outline(tmp_path / "s.tar") == [("s.tar", Reason.CORRUPT)]

    def test_one_that_went_away_is_a_fault(self, tmp_path):
        (ref,) = list_corpus(str(tar(tmp_path / "s.tar", ("a.wav", WAV))))
        (tmp_path / "s.tar").unlink()
        ((member, fault),) = members(ref)
        assert (member, isinstance(fault, AudioFault) and fault.reason) == (ref, Reason.UNREADABLE)

    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    def test_what_comes_before_the_damage_is_read_and_the_rest_is_said_to_be_lost(self, tmp_path, mode):
        noise = random.Random(0)
        entries = [(f"{n}.wav", WAV + noise.randbytes(50_000)) for n in range(5)]
        whole = tar(tmp_path / "s.tar", *entries, mode=mode).read_bytes()
        for cut in range(0, len(whole) - 12_000, 17_011):
            (tmp_path / "s.tar").write_bytes(whole[:cut])
            *found, last = outline(tmp_path / "s.tar")
            assert last == ("s.tar", Reason.CORRUPT if cut else Reason.EMPTY_ARCHIVE)
            assert found == [(f"s.tar/{name}", content) for name, content in entries][: len(found)]
            assert len(found) >= cut // 51_500 - 1

    def test_a_tar_that_is_cut_between_two_members_is_damaged(self, tmp_path):
        whole = tar(tmp_path / "s.tar", ("a.wav", WAV), ("b.wav", WAV)).read_bytes()
        (tmp_path / "s.tar").write_bytes(whole[:1024])
        assert outline(tmp_path / "s.tar") == [("s.tar/a.wav", WAV), ("s.tar", Reason.CORRUPT)]

    def test_a_damaged_header_is_no_end(self, tmp_path):
        whole = bytearray(tar(tmp_path / "s.tar", ("a.wav", WAV), ("b.wav", WAV)).read_bytes())
        whole[1024 + 20] ^= 0xFF
        (tmp_path / "s.tar").write_bytes(whole)
        assert outline(tmp_path / "s.tar") == [("s.tar/a.wav", WAV), ("s.tar", Reason.CORRUPT)]

    def test_what_follows_the_end_is_not_lost_in_silence(self, tmp_path):
        one = tar(tmp_path / "s.tar", ("a.wav", WAV)).read_bytes()
        (tmp_path / "s.tar").write_bytes(one + one)
        assert outline(tmp_path / "s.tar") == [("s.tar/a.wav", WAV), ("s.tar", Reason.CORRUPT)]

    def test_a_wrong_checksum_of_gzip_is_damage(self, tmp_path):
        whole = bytearray(tar(tmp_path / "s.tar.gz", ("a.wav", WAV), mode="w:gz").read_bytes())
        whole[-8] ^= 0xFF
        (tmp_path / "s.tar.gz").write_bytes(whole)
        assert outline(tmp_path / "s.tar.gz") == [("s.tar.gz/a.wav", WAV), ("s.tar.gz", Reason.CORRUPT)]

    def test_a_recording_that_is_too_large_is_a_fault_and_the_others_are_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1_000)
        path = tar(tmp_path / "s.tar", ("a.wav", WAV + b"x" * 1_000), ("b.wav", WAV))
        assert outline(path) == [("s.tar/a.wav", Reason.TOO_LONG), ("s.tar/b.wav", WAV)]

    @settings(max_examples=60)
    @given(data=st.data(), form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    def test_whatever_is_damaged_nothing_but_faults_comes_of_it(self, tmp_path_factory, data, form):
        path = tmp_path_factory.mktemp("damaged") / "s.tar"
        entries = [
            ("a" * 120 + ".wav", WAV),
            ("b.json", b'{"x": 1}'),
            ("é" * 80 + ".flac", b"fLaC" * 200),
            ("c.wav", WAV),
        ]
        damaged = bytearray(tar(path, *entries, form=form).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, 7_000))] = data.draw(st.integers(0, 255))
        path.write_bytes(damaged)
        names = [ref.utterance_id for ref, _ in read(path)]
        assert names
        assert len(set(names)) == len(names)


class TestParquet:
    def test_rows_are_recordings_and_other_columns_are_theirs(self, tmp_path):
        rows = [
            {"audio": {"bytes": WAV, "path": "x/a.wav"}, "text": "é", "n": 1, "tags": ["x"], "raw": b"1"},
            {"audio": {"bytes": b"fLaC", "path": None}, "text": None, "n": 2, "tags": [], "raw": b"2"},
        ]
        path = parquet(tmp_path / "s.parquet", rows)
        (first, one), (second, two) = read(path)
        assert (first.utterance_id, first.uri, first.size_bytes) == ("s.parquet/x/a.wav", f"{path}#x/a.wav", len(WAV))
        assert (second.utterance_id, one, two) == ("s.parquet/1", WAV, b"fLaC")
        assert (first.columns, second.columns) == ({"text": "é", "n": "1"}, {"text": "", "n": "2"})

    @pytest.mark.parametrize(
        ("ids", "expected"),
        [
            (["u1", "u2"], ["u1", "u2"]),
            ([7, 8], ["7", "8"]),
            (["u1", "u1"], ["a.wav", "b.wav"]),
            (["u1", None], ["a.wav", "b.wav"]),
            (["u1", ""], ["a.wav", "b.wav"]),
            ([0.5, 1.5], ["a.wav", "b.wav"]),
        ],
    )
    @pytest.mark.parametrize("name", ["id", "utterance_id"])
    def test_ids_count_where_they_tell_the_rows_apart(self, tmp_path, name, ids, expected):
        rows = [{"audio": {"bytes": WAV, "path": f"{p}.wav"}, name: i} for p, i in zip("ab", ids, strict=True)]
        assert outline(parquet(tmp_path / "s.parquet", rows)) == [(f"s.parquet/{name}", WAV) for name in expected]

    def test_paths_that_are_the_same_for_all_are_no_names(self, tmp_path):
        rows = [{"audio": {"bytes": WAV, "path": "audio.wav"}}] * 12
        names = [name for name, _ in outline(parquet(tmp_path / "s.parquet", rows))]
        assert names == [f"s.parquet/{n:02d}" for n in range(12)]

    def test_a_row_without_bytes_is_a_fault(self, tmp_path):
        rows = [{"audio": {"bytes": None, "path": "a.wav"}}, {"audio": None}, {"audio": {"bytes": WAV, "path": None}}]
        assert outline(parquet(tmp_path / "s.parquet", rows)) == [
            ("s.parquet/a.wav", Reason.EMPTY_FILE),
            ("s.parquet/1", Reason.EMPTY_FILE),
            ("s.parquet/2", WAV),
        ]

    def test_each_of_several_columns_of_recordings_is_heard(self, tmp_path):
        audio = pa.array([{"bytes": WAV, "path": "a.wav"}], HF_AUDIO)
        pq.write_table(pa.table({"clean": audio, "noisy": audio}), tmp_path / "s.parquet")
        assert outline(tmp_path / "s.parquet") == [("s.parquet/a.wav/clean", WAV), ("s.parquet/a.wav/noisy", WAV)]

    def test_large_bytes_and_further_fields(self, tmp_path):
        kind = pa.struct([("path", pa.large_string()), ("sampling_rate", pa.int32()), ("bytes", pa.large_binary())])
        path = parquet(tmp_path / "s.parquet", [{"audio": {"bytes": WAV, "path": "a.wav", "sampling_rate": 1}}], kind)
        assert outline(path) == [("s.parquet/a.wav", WAV)]

    def test_one_without_rows_is_a_fault(self, tmp_path):
        pq.write_table(pa.table({"audio": pa.array([], HF_AUDIO)}), tmp_path / "s.parquet")
        assert outline(tmp_path / "s.parquet") == [("s.parquet", Reason.EMPTY_ARCHIVE)]

    def test_a_recording_that_is_too_large_is_a_fault(self, tmp_path, monkeypatch):
        monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 50)
        rows = [{"audio": {"bytes": WAV * 9, "path": "a.wav"}}, {"audio": {"bytes": WAV, "path": "b.wav"}}]
        assert outline(parquet(tmp_path / "s.parquet", rows)) == [
            ("s.parquet/a.wav", Reason.TOO_LONG),
            ("s.parquet/b.wav", WAV),
        ]

    def test_a_row_group_that_is_damaged_costs_no_other(self, tmp_path):
        rows = [{"audio": {"bytes": WAV + bytes([n]) * 5_000, "path": f"{n}.wav"}} for n in range(9)]
        path = parquet(tmp_path / "s.parquet", rows, row_group_size=3, compression="zstd", write_page_checksum=True)
        whole = bytearray(path.read_bytes())
        start = whole.index(b"3.wav")  # of the second group, whose bytes stand before its names
        column = pq.ParquetFile(path).metadata.row_group(1).column(0)
        start = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2
        whole[start : start + 8] = b"\xff" * 8
        path.write_bytes(whole)
        *found, last = read(path)
        assert [ref.utterance_id for ref, _ in found] == [f"s.parquet/{n}.wav" for n in (0, 1, 2, 6, 7, 8)]
        assert [content for _, content in found] == [rows[n]["audio"]["bytes"] for n in (0, 1, 2, 6, 7, 8)]
        assert isinstance(last[1], AudioFault)
        assert last[1].reason == Reason.CORRUPT
        assert "3 of its 9 rows" in last[1].detail

    def test_one_that_breaks_off_after_it_was_listed_is_a_fault(self, tmp_path):
        path = parquet(tmp_path / "s.parquet", [{"audio": {"bytes": WAV, "path": "a.wav"}}])
        (ref,) = list_corpus(str(path))
        path.write_bytes(path.read_bytes()[:-20])
        ((_, fault),) = members(ref)
        assert isinstance(fault, AudioFault)
        assert fault.reason == Reason.CORRUPT

    @settings(max_examples=40)
    @given(data=st.data())
    def test_whatever_is_damaged_nothing_but_faults_comes_of_it(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("damaged") / "s.parquet"
        rows = [{"audio": {"bytes": WAV * 9, "path": f"{n}.wav"}, "id": f"u{n}", "text": "é" * n} for n in range(6)]
        whole = bytearray(parquet(path, rows, row_group_size=2, write_page_checksum=True).read_bytes())
        (ref,) = list_corpus(str(path))
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole)
        names = [member.utterance_id for member, _ in members(ref)]
        assert names
        assert len(set(names)) == len(names)


def test_what_is_handed_out_can_be_decoded(tmp_path, make_speech, encode):
    for coding, name in (("WAV/PCM_16", "a.wav"), ("FLAC/PCM_16", "a.flac"), ("OGG/VORBIS", "a.ogg")):
        content = encode(make_speech(1.0), coding=coding)
        tar(tmp_path / "s.tar", (name, content))
        parquet(tmp_path / "s.parquet", [{"audio": {"bytes": content, "path": name}}])
        for ref in list_corpus(str(tmp_path)):
            ((_, file),) = members(ref)
            assert not isinstance(file, AudioFault)
            assert decode(file).duration_s == pytest.approx(1.0)


def test_shards_of_webdataset(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    for name in ("s.tar", "s.tar.gz"):
        with webdataset.TarWriter(str(tmp_path / name)) as writer:
            for n in range(2):
                writer.write({"__key__": f"x/{n}", "wav": WAV, "json": {"speaker": f"S{n}"}, "txt": "hello", "cls": n})
        found = read(tmp_path / name)
        assert [(ref.utterance_id, ref.columns, content) for ref, content in found] == [
            (f"{name}/x/{n}.wav", {"speaker": f"S{n}"}, WAV) for n in range(2)
        ]


def test_parquet_of_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"audio": [{"bytes": WAV, "path": f"{n}.wav"} for n in range(3)], "text": ["a", None, "c"]}
    made = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    made.to_parquet(str(tmp_path / "train-00000-of-00001.parquet"))
    found = read(tmp_path)
    assert [content for _, content in found] == [WAV] * 3
    assert [ref.utterance_id for ref, _ in found] == [f"train-00000-of-00001.parquet/{n}.wav" for n in range(3)]
    assert [ref.columns["text"] for ref, _ in found] == ["a", "", "c"]


def test_a_shard_that_cannot_be_read_now_is_an_archive_still(tmp_path, monkeypatch):
    path = parquet(tmp_path / "a.parquet", [{"audio": {"bytes": b"x" * 100, "path": "a.wav"}}])

    def gone(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(archives.FileSystems, "open", gone)
    (ref,) = list_corpus(str(tmp_path))
    assert (ref.uri, ref.archive) == (str(path), "parquet")
    ((member, fault),) = members(ref)
    assert (member, fault.reason) == (ref, Reason.UNREADABLE)
