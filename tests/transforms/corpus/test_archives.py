"""Archives of recordings: how they are listed, and the ids, columns and faults of their members."""

from __future__ import annotations

import errno
import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems

from tests.support.archives import WAV, outline, write_parquet, write_tar
from tests.support.storage.local_buckets import bucket
from transforms.audio.decode import decode
from transforms.corpus.archives.reading import members
from transforms.corpus.sources import list_corpus
from transforms.errors import AudioFault, Reason


class TestListing:
    @pytest.mark.parametrize("name", ["s.tar", "s.tar.gz", "s.tgz", "S.TAR"])
    def test_a_tar_is_one_entry_in_a_directory_in_a_glob_and_alone(self, tmp_path, name):
        (tmp_path / "x").mkdir()
        path = write_tar(tmp_path / "x" / name, ("a.wav", WAV))
        for source, utterance_id in ((tmp_path, f"x/{name}"), (tmp_path / "*/*", f"x/{name}"), (path, name)):
            (ref,) = list_corpus(str(source))
            assert (ref.utterance_id, ref.archive, ref.size_bytes) == (utterance_id, "tar", path.stat().st_size)

    def test_parquet_with_audio_is_an_archive_and_other_parquet_is_not(self, tmp_path):
        write_parquet(tmp_path / "audio.parquet", [{"audio": {"bytes": WAV, "path": "a.wav"}, "path": "no.wav"}])
        pq.write_table(pa.table({"path": ["a.wav"]}), tmp_path / "names.parquet")
        (tmp_path / "broken.parquet").write_bytes(b"x" * 99)
        kinds = {ref.utterance_id: ref.archive for ref in list_corpus(str(tmp_path))}
        assert kinds == {"audio.parquet": "parquet", "names.parquet": None, "broken.parquet": None}
        assert [ref.archive for ref in list_corpus(str(tmp_path / "audio.parquet"))] == ["parquet"]
        assert [ref.utterance_id for ref in list_corpus(str(tmp_path / "names.parquet"))] == ["a.wav"]
        assert {ref.utterance_id for ref in list_corpus(str(tmp_path / "[an]*.parquet"))} == {"audio.parquet", "a.wav"}

    def test_archives_in_a_bucket_are_listed_and_read(self, tmp_path):
        write_tar(tmp_path / "s.tar.gz", ("a.wav", WAV), mode="w:gz")
        write_parquet(tmp_path / "s.parquet", [{"audio": {"bytes": WAV, "path": None}}])
        assert outline(bucket(tmp_path)) == [("s.parquet/0", WAV), ("s.tar.gz/a.wav", WAV)]
        for name in ("s.tar.gz", "s.parquet"):
            (ref,) = list_corpus(bucket(tmp_path / name))
            assert (ref.utterance_id, ref.size_bytes) == (name, (tmp_path / name).stat().st_size)


class TestMembers:
    def test_a_repeated_name_is_a_fault_with_a_unique_id(self, tmp_path):
        path = write_tar(tmp_path / "s.tar", ("a.wav", WAV), ("./a.wav", b"other"), ("b.wav", WAV), ("a.wav", WAV))
        assert outline(path) == [
            ("s.tar/a.wav", WAV),
            ("s.tar/a.wav#2", Reason.DUPLICATE_ID),
            ("s.tar/b.wav", WAV),
            ("s.tar/a.wav#3", Reason.DUPLICATE_ID),
        ]

    def test_a_deleted_archive_is_unreadable(self, tmp_path):
        (ref,) = list_corpus(str(write_tar(tmp_path / "s.tar", ("a.wav", WAV))))
        (tmp_path / "s.tar").unlink()
        ((member, fault),) = members(ref)
        assert (member, isinstance(fault, AudioFault) and fault.reason) == (ref, Reason.UNREADABLE)


def test_the_content_of_members_can_be_decoded(tmp_path, make_speech, encode):
    for coding, name in (("WAV/PCM_16", "a.wav"), ("FLAC/PCM_16", "a.flac"), ("OGG/VORBIS", "a.ogg")):
        content = encode(make_speech(1.0), coding=coding)
        write_tar(tmp_path / "s.tar", (name, content))
        write_parquet(tmp_path / "s.parquet", [{"audio": {"bytes": content, "path": name}}])
        for ref in list_corpus(str(tmp_path)):
            ((_, file),) = members(ref)
            assert not isinstance(file, AudioFault)
            assert decode(file).duration_s == pytest.approx(1.0)


def test_parquet_that_cannot_be_read_now_stays_an_archive_and_is_unreadable(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", [{"audio": {"bytes": b"x" * 100, "path": "a.wav"}}])

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(FileSystems, "open", fail)
    (ref,) = list_corpus(str(tmp_path))
    assert (ref.uri, ref.archive) == (str(path), "parquet")
    ((member, fault),) = members(ref)
    assert (member, fault.reason) == (ref, Reason.UNREADABLE)
