"""A file that is created appears whole, once, and on the disk."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.storage import local_buckets
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import CUT, RESET, Proxy, first
from transforms.storage import durable_files
from transforms.storage.durable_files import create_durably, sync_all, sync_folder
from transforms.storage.gcs import conditions as gcs_conditions
from transforms.storage.new_files import create_file


@pytest.fixture(params=["disk", "disk without links", "bucket", "other storage"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a file that does not exist, in each kind of storage."""
    if request.param == "bucket":
        return request.getfixturevalue("bucket") / "runs/1.json"
    if request.param == "disk without links":
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    place = tmp_path / "runs" / "1.json"
    return local_buckets.bucket(place) if request.param == "other storage" else str(place)


def refuse(number: int) -> Any:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


def read(uri: str) -> bytes:
    if uri.startswith("gs:"):
        found = gcs_conditions.read(uri)
        assert found
        return found.content
    return Path(uri.removeprefix(f"{local_buckets.SCHEME}:/")).read_bytes()


def test_a_file_is_created_once(target: str, tmp_path: Path) -> None:
    assert create_file(target, b"one")
    assert not create_file(target, b"two")
    assert read(target) == b"one"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] in ([], ["1.json"])


def test_of_many_processes_one_creates_it(bucket: Bucket, tmp_path: Path) -> None:
    for target in (str(tmp_path / "runs/1.json"), bucket / "runs/1.json"):
        created = []

        def create(number: int, target: str = target, created: list = created) -> None:
            if create_file(target, str(number).encode()):
                created.append(str(number).encode())

        threads = [threading.Thread(target=create, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert created == [read(target)]


@pytest.mark.parametrize("fault", [503, RESET, CUT])
def test_a_lost_answer_is_not_a_lost_race(bucket: Bucket, proxy: Proxy, fault: Any) -> None:
    proxy.fail = first(1, fault)
    assert create_file(bucket / "a", b"mine")
    proxy.fail = first(1, fault)
    assert not create_file(bucket / "a", b"other's")
    assert bucket.read("a") == b"mine"


def test_an_object_changes_only_in_the_expected_generation(bucket: Bucket) -> None:
    uri = bucket / "a"
    one = gcs_conditions.write(uri, b"1", gcs_conditions.MISSING)
    assert one == bucket.generation("a")
    two = gcs_conditions.write(uri, b"2", one)
    assert two not in (None, one)
    assert gcs_conditions.write(uri, b"3", one) is None
    gcs_conditions.delete(uri, one)
    assert bucket.read("a") == b"2"
    gcs_conditions.delete(uri, two)
    assert gcs_conditions.read(uri) is None
    with pytest.raises(FileNotFoundError, match="there is no bucket gs://no-such-bucket"):
        gcs_conditions.write("gs://no-such-bucket/a", b"", gcs_conditions.MISSING)


class TestDisk:
    def test_others_may_read_it(self, tmp_path: Path) -> None:
        create_durably(tmp_path / "a", b"")
        before = os.umask(0)
        os.umask(before)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~before

    def test_a_failed_write_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "fsync", refuse(errno.ENOSPC))
        with pytest.raises(OSError, match="No space left"):
            create_durably(tmp_path / "a", b"x")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
    def test_a_disk_that_lost_a_content_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        paths = [tmp_path / name for name in "abc"]
        for path in paths:
            path.write_bytes(b"x")
        monkeypatch.setattr(os, "fsync", refuse(number))
        for sync in (
            lambda: sync_all(paths),
            lambda: sync_all(folders=[tmp_path]),
            lambda: sync_folder(tmp_path),
        ):
            with pytest.raises(OSError, match=os.strerror(number)):
                sync()

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
    def test_a_filesystem_that_cannot_sync_folders_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(os, "fsync", refuse(number))
        sync_folder(tmp_path)
        sync_all(folders=[tmp_path])

    def test_many_files_are_synced_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = [tmp_path / str(number) for number in range(durable_files._THREADS * 2)]
        for path in paths:
            path.write_bytes(b"x")
        together = threading.Barrier(durable_files._THREADS)
        monkeypatch.setattr(os, "fsync", lambda _: together.wait(timeout=20))
        sync_all(paths)
