"""A folder in a bucket is whole, or has no record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.buckets import BucketFolder
from pipelines.options import UsageError
from tests.emulator import Bucket
from tests.proxy import Call, Proxy


def put(folder: BucketFolder, number: int, *names: str) -> None:
    with folder.drafted() as draft:
        for name in (*names, folder.record):
            (draft / name).parent.mkdir(exist_ok=True)
            (draft / name).write_text(json.dumps({"number": number}))


def test_what_was_there_gives_way_to_what_is_put_there(bucket: Bucket) -> None:
    folder = BucketFolder(f"{bucket}/keep/", "record.json")
    assert (folder.names(), folder.load()) == ([], {})
    put(folder, 1, "a", "kaldi/b")
    assert (folder.names(), folder.load()) == (["a", "kaldi/b", "record.json"], {"number": 1})
    put(folder, 2, "a", "c")
    assert (folder.names(), folder.load()) == (["a", "c", "record.json"], {"number": 2})
    assert json.loads(bucket.read("keep/a")) == {"number": 2}


@pytest.mark.parametrize("lost", ["part", "batch"], ids=["a file", "the removal of what is stale"])
def test_what_is_there_by_half_has_no_record_neither_the_old_one_nor_the_new(
    bucket: Bucket, proxy: Proxy, lost: str
) -> None:
    folder = BucketFolder(bucket / "keep", "record.json")
    put(folder, 1, "a", "b", "stale")
    asked = []

    def fail(call: Call) -> int | None:
        asked.append(call.kind)
        # The first removal is that of the old record.
        return 403 if call.kind == lost and asked.count(lost) == 2 else None

    proxy.fail = fail
    with pytest.raises(UsageError, match=f"--output {folder.uri}: cannot be written"):
        put(folder, 2, "a", "b")
    assert folder.load() == {}
    assert "record.json" not in folder.names()
    proxy.fail = lambda _: None
    put(folder, 3, "a", "b")
    assert (folder.names(), folder.load()) == (["a", "b", "record.json"], {"number": 3})


def test_a_block_that_fails_writes_nothing(bucket: Bucket) -> None:
    folder = BucketFolder(bucket / "keep", "record.json")

    def fail(draft: Path) -> None:
        (draft / "a").write_text("1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), folder.drafted() as draft:
        fail(draft)
    assert folder.names() == []
