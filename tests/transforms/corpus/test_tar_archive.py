"""Tars of recordings: which members are recordings, their columns, and the faults of damaged tars."""

from __future__ import annotations

import gzip
import json
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archives import WAV, outline, read_members, write_tar
from transforms.corpus.archives import member as archive_member
from transforms.corpus.archives.tar import read_tar
from transforms.corpus.listing import ListingOptions
from transforms.corpus.sources import list_corpus, scan_corpus
from transforms.errors import Reason


class TestTar:
    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_members_have_their_own_ids_and_bytes(self, tmp_path, mode, form):
        long = "é" * 60 + "/" + "x" * 90 + ".flac"
        path = write_tar(
            tmp_path / "s.tar",
            ("./x/", tarfile.DIRTYPE),
            ("./x/a.wav", WAV),
            (long, b"fLaC" * 99_999),
            mode=mode,
            form=form,
        )
        (first, _), (second, content) = read_members(path)
        assert (first.utterance_id, first.uri, first.size_bytes) == ("s.tar/x/a.wav", f"{path}#x/a.wav", len(WAV))
        assert (second.utterance_id, content) == (f"s.tar/{long}", b"fLaC" * 99_999)
        (ref,) = list_corpus(str(path))
        assert {first.source_version, second.source_version} == {ref.source_version}
        assert (first.archive, first.columns) == (None, {})

    @pytest.mark.parametrize(
        ("name", "content", "is_recording"),
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
            ("a.mp4", b"text", True),
            ("a.webm", b"text", True),
            ("a.bin", b"\0\0\0\x1cftypmp42\0\0\0\0", True),
            ("a.bin", b"\0\0\0\x1cftypavif\0\0\0\0", False),
            ("a.bin", b"\x1a\x45\xdf\xa3\x9f", True),
            ("a.txt", b"RIFFS are what we play", False),
            ("a.json", b'{"x": 1}', False),
            ("a.cls", b"3" * 2, False),
            ("a.jpg", b"\xff\xd8\xff\xe0", False),
            ("wav", b"text", False),
            ("a.mp3", tarfile.DIRTYPE, False),
        ],
    )
    def test_the_suffix_or_the_first_bytes_make_a_recording(self, tmp_path, name, content, is_recording):
        path = write_tar(tmp_path / "s.tar", (name, content), ("z.wav", WAV))
        assert (f"s.tar/{name}" in [utterance for utterance, _ in outline(path)]) == is_recording

    def test_large_members_without_a_suffix_are_read_completely(self, tmp_path):
        content = WAV + random.Random(0).randbytes(300_000)
        assert outline(write_tar(tmp_path / "s.tar", ("a", content), ("b.txt", b"x" * 99_999), ("c", content))) == [
            ("s.tar/a", content),
            ("s.tar/c", content),
        ]

    def test_every_recording_of_a_sample_has_its_metadata(self, tmp_path):
        entries = [
            ("a.clean.wav", WAV + b"1"),
            ("a.noisy.wav", WAV + b"2"),
            ("a.json", b'{"spk": "ann"}'),
            ("a.txt", b"good day\n"),
            ("b.flac", WAV + b"3"),
            ("b.txt", b"of the text member"),
            ("b.json", b'{"text": "of JSON"}'),
            ("c.txt", b"first"),
            ("c.wav", WAV),
        ]
        read = read_members(write_tar(tmp_path / "s.tar", *entries))
        assert [(ref.utterance_id, content, ref.columns) for ref, content in read] == [
            ("s.tar/a.clean.wav", WAV + b"1", {"spk": "ann", "text": "good day", "speaker": "ann"}),
            ("s.tar/a.noisy.wav", WAV + b"2", {"spk": "ann", "text": "good day", "speaker": "ann"}),
            ("s.tar/b.flac", WAV + b"3", {"text": "of JSON"}),
            ("s.tar/c.wav", WAV, {"text": "first"}),
        ]

    def test_a_large_sample_is_not_held_in_memory(self, tmp_path):
        write_tar(
            tmp_path / "s.tar", *((f"2024.{n:02d}.wav", WAV + bytes(20_000)) for n in range(40)), ("2024.txt", b"xx")
        )
        with (tmp_path / "s.tar").open("rb") as file:
            entries = read_tar(file)
            next(entries)
            assert file.tell() < (tmp_path / "s.tar").stat().st_size / 1.5
            assert sum(1 for _ in entries) == 39

    def test_the_text_of_a_sample_is_carried_by_itself(self, tmp_path):
        write_tar(tmp_path / "s.tar", ("a.wav", WAV), ("a.txt", b"xx"))
        assert scan_corpus(str(tmp_path), ListingOptions(carry=frozenset())).carried == ("text",)

    @pytest.mark.parametrize(
        "order", [("json", "wav"), ("wav", "json"), ("cls", "json", "txt", "wav"), ("wav", "txt", "json")]
    )
    def test_json_of_the_same_sample_becomes_columns(self, tmp_path, order):
        metadata = {"speaker": "alicé", "n": 3, "ok": True, "none": None, "list": [1], "object": {"x": 1}}
        content = {"wav": WAV, "json": json.dumps(metadata).encode(), "txt": b"hello", "cls": b"33"}
        entries = [(f"x/{key}.{kind}", content[kind]) for key in ("1", "2") for kind in order]
        read = read_members(write_tar(tmp_path / "s.tar", *entries))
        assert [ref.utterance_id for ref, _ in read] == ["s.tar/x/1.wav", "s.tar/x/2.wav"]
        texts = {"text": "hello"} if "txt" in order else {}
        assert all(ref.columns == {"speaker": "alicé", "n": "3", "ok": "true", "none": "", **texts} for ref, _ in read)

    def test_json_of_another_sample_is_ignored(self, tmp_path):
        path = write_tar(tmp_path / "s.tar", ("1.json", b'{"x": 1}'), ("2.wav", WAV), ("3.json", b'{"x": 3}'))
        assert [dict(ref.columns) for ref, _ in read_members(path)] == [{}]

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 99_999, b'"x"'])
    def test_invalid_json_is_ignored(self, tmp_path, content):
        path = write_tar(tmp_path / "s.tar", ("1.json", content), ("1.wav", WAV))
        assert outline(path) == [("s.tar/1.wav", WAV)]

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
    def test_links_and_devices_with_an_audio_suffix_are_faults(self, tmp_path, kind):
        path = write_tar(tmp_path / "s.tar", ("a.wav", kind), ("a.txt", kind), ("a.json", kind), ("b.wav", WAV))
        assert outline(path) == [("s.tar/a.wav", Reason.NOT_A_FILE), ("s.tar/b.wav", WAV)]

    def test_names_that_are_not_utf_8_are_escaped(self, tmp_path):
        path = write_tar(tmp_path / "s.tar", ("caf\udce9.wav", WAV))
        ((ref, content),) = read_members(path)
        assert (ref.utterance_id, ref.uri, content) == (r"s.tar/caf\xe9.wav", rf"{path}#caf\xe9.wav", WAV)

    @pytest.mark.parametrize("entries", [[], [("a.txt", b"text")]])
    def test_a_tar_without_recordings_is_a_fault(self, tmp_path, entries):
        assert outline(write_tar(tmp_path / "s.tar", *entries)) == [("s.tar", Reason.EMPTY_ARCHIVE)]

    def test_an_empty_file_is_a_fault(self, tmp_path):
        (tmp_path / "s.tar").write_bytes(b"")
        assert outline(tmp_path / "s.tar") == [("s.tar", Reason.EMPTY_ARCHIVE)]

    # The ids are explicit because gzip stores the time, and parallel test processes need equal ids.
    @pytest.mark.parametrize(
        "content",
        [b"no tar at all" * 99, b"\x1f\x8bno gzip", b"\x1f", gzip.compress(b"no tar" * 999)],
        ids=["text", "no gzip", "one byte", "gzipped text"],
    )
    def test_content_that_is_not_a_tar_is_corrupt(self, tmp_path, content):
        (tmp_path / "s.tar").write_bytes(content)
        assert outline(tmp_path / "s.tar") == [("s.tar", Reason.CORRUPT)]

    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    def test_members_before_the_truncation_are_read_and_the_archive_is_corrupt(self, tmp_path, mode):
        noise = random.Random(0)
        entries = [(f"{n}.wav", WAV + noise.randbytes(50_000)) for n in range(5)]
        whole = write_tar(tmp_path / "s.tar", *entries, mode=mode).read_bytes()
        for cut in range(0, len(whole) - 12_000, 17_011):
            (tmp_path / "s.tar").write_bytes(whole[:cut])
            *good, last = outline(tmp_path / "s.tar")
            assert last == ("s.tar", Reason.CORRUPT if cut else Reason.EMPTY_ARCHIVE)
            assert good == [(f"s.tar/{name}", content) for name, content in entries][: len(good)]
            assert len(good) >= cut // 51_500 - 1

    def test_a_tar_cut_between_two_members_is_corrupt(self, tmp_path):
        whole = write_tar(tmp_path / "s.tar", ("a.wav", WAV), ("b.wav", WAV)).read_bytes()
        (tmp_path / "s.tar").write_bytes(whole[:1024])
        assert outline(tmp_path / "s.tar") == [("s.tar/a.wav", WAV), ("s.tar", Reason.CORRUPT)]

    def test_a_damaged_header_is_corrupt_and_not_the_end(self, tmp_path):
        whole = bytearray(write_tar(tmp_path / "s.tar", ("a.wav", WAV), ("b.wav", WAV)).read_bytes())
        whole[1024 + 20] ^= 0xFF
        (tmp_path / "s.tar").write_bytes(whole)
        assert outline(tmp_path / "s.tar") == [("s.tar/a.wav", WAV), ("s.tar", Reason.CORRUPT)]

    def test_data_after_the_end_mark_is_corrupt(self, tmp_path):
        one = write_tar(tmp_path / "s.tar", ("a.wav", WAV)).read_bytes()
        (tmp_path / "s.tar").write_bytes(one + one)
        assert outline(tmp_path / "s.tar") == [("s.tar/a.wav", WAV), ("s.tar", Reason.CORRUPT)]

    def test_a_wrong_gzip_checksum_is_corrupt(self, tmp_path):
        whole = bytearray(write_tar(tmp_path / "s.tar.gz", ("a.wav", WAV), mode="w:gz").read_bytes())
        whole[-8] ^= 0xFF
        (tmp_path / "s.tar.gz").write_bytes(whole)
        assert outline(tmp_path / "s.tar.gz") == [("s.tar.gz/a.wav", WAV), ("s.tar.gz", Reason.CORRUPT)]

    def test_a_member_over_the_size_limit_is_a_fault_and_others_are_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(archive_member, "MAX_MEMBER_BYTES", 1_000)
        path = write_tar(tmp_path / "s.tar", ("a.wav", WAV + b"x" * 1_000), ("b.wav", WAV))
        assert outline(path) == [("s.tar/a.wav", Reason.TOO_LONG), ("s.tar/b.wav", WAV)]

    @settings(max_examples=60)
    @given(data=st.data(), form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    def test_any_damage_gives_only_faults_with_unique_ids(self, tmp_path_factory, data, form):
        path = tmp_path_factory.mktemp("damaged") / "s.tar"
        entries = [
            ("a" * 120 + ".wav", WAV),
            ("b.json", b'{"x": 1}'),
            ("é" * 80 + ".flac", b"fLaC" * 200),
            ("c.wav", WAV),
        ]
        damaged = bytearray(write_tar(path, *entries, form=form).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, 7_000))] = data.draw(st.integers(0, 255))
        path.write_bytes(damaged)
        names = [ref.utterance_id for ref, _ in read_members(path)]
        assert names
        assert len(set(names)) == len(names)


def test_shards_written_by_webdataset_are_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    for name in ("s.tar", "s.tar.gz"):
        with webdataset.TarWriter(str(tmp_path / name)) as writer:
            for n in range(2):
                writer.write({"__key__": f"x/{n}", "wav": WAV, "json": {"speaker": f"S{n}"}, "txt": "hello", "cls": n})
        read = read_members(tmp_path / name)
        assert [(ref.utterance_id, ref.columns, content) for ref, content in read] == [
            (f"{name}/x/{n}.wav", {"speaker": f"S{n}", "text": "hello"}, WAV) for n in range(2)
        ]
