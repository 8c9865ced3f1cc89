"""A file appears complete, or not at all, in any filesystem."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path

import pytest

from tests.support.storage import local_buckets
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import RESET, Call, Fault, Proxy
from transforms.errors import OutputError
from transforms.storage.atomic_files import atomic_file, check_new, new_file, new_text

# More than one part of an upload.
LARGE = bytes(range(256)) * (70_000)


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a" / "rows.txt"
    with new_text(str(target)) as file:
        file.write("née\n")
        assert not target.exists()
    assert target.read_bytes() == "née\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_any_filesystem_of_beam_is_written(tmp_path: Path) -> None:
    target = local_buckets.bucket(tmp_path / "a" / "rows.txt")
    for text in ("before", "after"):
        with new_text(target, overwrite=True) as file:
            file.write(text)
    with pytest.raises(OutputError, match="already exists"), new_text(target):
        pass
    assert [path.read_text() for path in (tmp_path / "a").iterdir()] == ["after"]


def test_a_name_like_gz_does_not_compress_it(tmp_path: Path) -> None:
    with new_file(str(tmp_path / "rows.gz")) as file:
        file.write(b"plain")
    assert (tmp_path / "rows.gz").read_bytes() == b"plain"


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "rows.txt"
    target.write_text("before")
    with contextlib.suppress(KeyError), new_file(str(target), overwrite=True) as file:
        file.write(b"half")
        raise KeyError
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "rows.txt"
    target.write_text("before")
    with pytest.raises(OutputError, match="already exists"), new_file(str(target)):
        pass
    assert target.read_text() == "before"
    with new_text(str(target), overwrite=True) as file:
        file.write("after")
    assert target.read_text() == "after"


def test_a_file_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), new_file(str(tmp_path / "file" / "rows.txt")):
        pass
    with pytest.raises(OutputError, match="it is a folder"):
        check_new(str(tmp_path), overwrite=True)


def test_a_file_never_replaces_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), atomic_file(str(tmp_path / "folder")):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


class Stop(Exception):
    """Ends a block."""


def write(uri: str, *blocks: bytes, fails: bool = False) -> None:
    with atomic_file(uri) as file:
        for block in blocks:
            file.write(block)
        if fails:
            raise Stop


def test_an_object_is_uploaded_once_and_not_copied(bucket: Bucket, proxy: Proxy) -> None:
    write(bucket / "a/file", LARGE, b"2")
    assert set(proxy.counts) == {"start", "part"}
    assert bucket.read("a/file") == LARGE + b"2"
    for content in (b"3", LARGE):
        with pytest.raises(Stop):
            write(bucket / "b", content, fails=True)
    assert bucket.names() == ["a/file"]


@pytest.mark.parametrize("answer_to_cancel", [None, 403, RESET])
def test_an_upload_that_fails_leaves_nothing(bucket: Bucket, proxy: Proxy, answer_to_cancel: Fault) -> None:
    """Also if the upload cannot be cancelled, and the storage accepts parts again before the file is garbage-collected."""
    calls = []

    def fail(call: Call) -> Fault:
        calls.append(call.kind)
        if call.kind == "delete":
            return answer_to_cancel
        return 403 if calls.count("part") == 2 else None

    proxy.fail = fail
    with pytest.raises(PermissionError, match="permission is denied") as caught:
        write(bucket / "a", LARGE, LARGE)
    assert calls.count("delete") == 1
    proxy.fail = lambda _: None
    del caught
    gc.collect()
    assert bucket.names() == []
