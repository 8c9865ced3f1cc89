"""A file appears whole at the end, or not at all."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path

import pytest

from tests.support import buckets
from tests.support.gcs_emulator import Bucket
from tests.support.gcs_proxy import RESET, Call, Fault, Proxy
from transforms.errors import OutputError
from transforms.storage.atomic_files import check_new, new_file, new_text, whole_file

# More than goes to the storage at once.
LARGE = bytes(range(256)) * (70_000)


def test_it_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a" / "rows.txt"
    with new_text(str(target)) as file:
        file.write("née\n")
        assert not target.exists()
    assert target.read_bytes() == "née\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_it_works_in_any_filesystem(tmp_path: Path) -> None:
    target = buckets.bucket(tmp_path / "a" / "rows.txt")
    for text in ("before", "after"):
        with new_text(target, overwrite=True) as file:
            file.write(text)
    with pytest.raises(OutputError, match="there already"), new_text(target):
        pass
    assert [path.read_text() for path in (tmp_path / "a").iterdir()] == ["after"]


def test_its_name_does_not_pack_it(tmp_path: Path) -> None:
    with new_file(str(tmp_path / "rows.gz")) as file:
        file.write(b"plain")
    assert (tmp_path / "rows.gz").read_bytes() == b"plain"


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "rows.txt"
    target.write_text("before")
    with contextlib.suppress(KeyError), new_file(str(target), overwrite=True) as file:
        file.write(b"half")
        raise KeyError
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_there_is_replaced_only_if_told(tmp_path: Path) -> None:
    target = tmp_path / "rows.txt"
    target.write_text("before")
    with pytest.raises(OutputError, match="there already"), new_file(str(target)):
        pass
    assert target.read_text() == "before"
    with new_text(str(target), overwrite=True) as file:
        file.write("after")
    assert target.read_text() == "after"


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), new_file(str(tmp_path / "file" / "rows.txt")):
        pass
    with pytest.raises(OutputError, match="it is a folder"):
        check_new(str(tmp_path), overwrite=True)


class Stop(Exception):
    """What ends a block."""


def write(uri: str, *blocks: bytes, fails: bool = False) -> None:
    with whole_file(uri) as file:
        for block in blocks:
            file.write(block)
        if fails:
            raise Stop


def test_on_cloud_storage_it_is_uploaded_once_and_not_copied(bucket: Bucket, proxy: Proxy) -> None:
    write(bucket / "a/file", LARGE, b"2")
    assert set(proxy.counts) == {"start", "part"}
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
