"""Files that are there as a whole or not at all."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.emulator import Bucket
from tests.proxy import RESET, Call, Fault, Proxy
from transforms.whole_files import whole_file

# More than goes to the storage at once.
LARGE = bytes(range(256)) * (70_000)


class Stop(Exception):
    """What ends a block."""


def write(uri: str, *blocks: bytes, fails: bool = False) -> None:
    with whole_file(uri) as file:
        for block in blocks:
            file.write(block)
        if fails:
            raise Stop


def test_here(tmp_path: Path) -> None:
    target = tmp_path / "a/b/file"
    write(str(target), b"1", b"2")
    assert target.read_bytes() == b"12"
    assert oct(target.stat().st_mode & 0o777) == "0o644"
    with pytest.raises(Stop):
        write(str(target), b"3", fails=True)
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"12"]


def test_in_a_bucket(bucket: Bucket) -> None:
    write(bucket / "a/file", LARGE, b"2")
    assert bucket.read("a/file") == LARGE + b"2"
    for content in (b"3", LARGE):
        with pytest.raises(Stop):
            write(bucket / "b", content, fails=True)
    assert bucket.names() == ["a/file"]


@pytest.mark.parametrize("given_up", [None, 403, RESET])
def test_an_upload_that_is_cut_short_leaves_nothing(bucket: Bucket, proxy: Proxy, given_up: Fault) -> None:
    """Also where the storage does not let it be given up, and takes more again before the file is forgotten."""
    calls = []

    def fail(call: Call) -> Fault:
        calls.append(call.kind)
        if call.kind == "delete":
            return given_up
        return 403 if calls.count("part") == 2 else None

    proxy.fail = fail
    with pytest.raises(PermissionError, match="permission is denied") as caught:
        write(bucket / "a", LARGE, LARGE)
    assert calls.count("delete") == 1
    proxy.fail = lambda _: None
    del caught
    gc.collect()
    assert bucket.names() == []
