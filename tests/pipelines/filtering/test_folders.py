"""Folders that commands write to: one in a bucket is complete, or has no record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.common.errors import UsageError
from pipelines.filtering.folders import BucketFolder, Folder, LocalFolder
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import Call, Proxy

RECORD = "record.json"


def write(folder: Folder, number: int, *names: str) -> None:
    with folder.replace(RECORD) as draft:
        for name in (*names, RECORD):
            (draft / name).parent.mkdir(exist_ok=True)
            (draft / name).write_text(json.dumps({"number": number}))


def test_new_content_replaces_the_old(bucket: Bucket) -> None:
    folder = BucketFolder(bucket / "keep")
    assert (folder.names(), folder.load(RECORD)) == ([], {})
    write(folder, 1, "a", "kaldi/b")
    assert (folder.names(), folder.load(RECORD)) == (["a", "kaldi/b", "record.json"], {"number": 1})
    write(folder, 2, "a", "c")
    assert (folder.names(), folder.load(RECORD)) == (["a", "c", "record.json"], {"number": 2})
    assert json.loads(bucket.read("keep/a")) == {"number": 2}


@pytest.mark.parametrize("lost", ["part", "batch"], ids=["a file", "deleting stale files"])
def test_incomplete_content_has_no_record(bucket: Bucket, proxy: Proxy, lost: str) -> None:
    folder = BucketFolder(bucket / "keep")
    write(folder, 1, "a", "b", "stale")
    kinds = []

    def fail(call: Call) -> int | None:
        kinds.append(call.kind)
        # The first deletion is that of the old record.
        return 403 if call.kind == lost and kinds.count(lost) == 2 else None

    proxy.fail = fail
    with pytest.raises(UsageError, match=f"--output {folder.uri}: cannot write there"):
        write(folder, 2, "a", "b")
    assert folder.load(RECORD) == {}
    assert "record.json" not in folder.names()
    proxy.fail = lambda _: None
    write(folder, 3, "a", "b")
    assert (folder.names(), folder.load(RECORD)) == (["a", "b", "record.json"], {"number": 3})


def test_a_block_that_raises_writes_nothing(bucket: Bucket) -> None:
    folder = BucketFolder(bucket / "keep")

    def fail(draft: Path) -> None:
        (draft / "a").write_text("1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), folder.replace(RECORD) as draft:
        fail(draft)
    assert folder.names() == []


def test_local_folders_and_buckets_behave_alike(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "b").write_text('{"b": 1}')
    for folder in (BucketFolder(bucket / "keep"), LocalFolder(str(tmp_path / "keep"))):
        assert folder.is_empty()
        folder.check_writable()
        assert folder.is_empty()
        write(folder, 1, "a", "kaldi/b")
        assert not folder.is_empty()
        folder.put(tmp_path / "b", "b")
        assert [folder.load(name) for name in ("a", "b", "c")] == [{"number": 1}, {"b": 1}, {}]
        write(folder, 2, "c")
        assert [folder.load(name) for name in ("a", "b", "c")] == [{}, {}, {"number": 2}]
        folder.clear()
        assert folder.is_empty()
        assert folder.load("c") == {}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_cannot_be_written_is_named(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    proxy.fail = lambda call: 403 if call.kind in ("part", "write") else None
    for folder in (BucketFolder(bucket / "keep", "export"), LocalFolder(str(tmp_path / "file/keep"), "export")):
        with pytest.raises(UsageError, match=f"--export {folder.uri}: cannot write there"):
            folder.check_writable()
