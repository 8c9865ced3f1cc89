"""One process at a time writes to an output, on one machine or on two, on a disk or in a bucket."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.common.output_lock import HOLDER, output_lock
from tests.support.paths import ROOT
from tests.support.storage import local_buckets
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import CUT, RESET, Proxy, first
from tests.support.storage.locks import elsewhere, hurry, lease_of, left_behind, silent
from transforms.errors import OutputError
from transforms.storage.lease import Holder, Lease, LockedError
from transforms.storage.lock_files import CLAIM_S, lock_file


@pytest.fixture(params=["disk", "bucket", "other storage"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An output in each kind of storage."""
    if request.param == "bucket":
        return request.getfixturevalue("bucket") / "out"
    place = tmp_path / "out"
    return str(place) if request.param == "disk" else local_buckets.bucket(place)


def test_without_locks_a_run_goes_on_with_a_warning(tmp_path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with output_lock(tmp_path / "out"):
        pass
    assert "cannot be locked" in capsys.readouterr().err


def test_two_runs_do_not_write_to_one_folder(output):
    with (
        output_lock(output),
        pytest.raises(OutputError, match="another audiosieve process is writing there"),
        output_lock(output),
    ):
        pass
    with output_lock(output) as lock:
        lock.check()


def test_the_error_is_one_line_and_says_who_and_what_to_do(output):
    left_behind(f"{output}/{HOLDER}", elsewhere("gpu-7"))
    with pytest.raises(OutputError) as caught, output_lock(output):
        pass
    said = str(caught.value)
    assert re.search(r"\(host gpu-7, pid 4711, since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\); wait until it has ended", said)
    assert 1 <= int(re.search(r"run this command again in (\d+) s", said)[1]) <= 60
    assert "\n" not in said


def test_nothing_is_left_when_the_block_ends(output, tmp_path, request):
    for fails in (False, True):
        try:
            with output_lock(output):
                if fails:
                    raise KeyError
        except KeyError:
            pass
        assert lock_file(f"{output}/{HOLDER}").read() is None
    left = request.getfixturevalue("bucket").names() if output.startswith("gs:") else list(tmp_path.rglob("*.*"))
    assert not [name for name in map(str, left) if not name.endswith(".lock")]


class TestExpiry:
    def test_the_lock_of_a_killed_process_elsewhere_expires(self, output, monkeypatch):
        hurry(monkeypatch)
        left_behind(f"{output}/{HOLDER}", elsewhere())
        started = time.monotonic()
        refused = 0
        while time.monotonic() - started < 20:
            try:
                with output_lock(output) as lock:
                    lock.check()
                break
            except OutputError:
                refused += 1
                time.sleep(0.1)
        assert refused
        assert 0.5 < time.monotonic() - started < 20

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}'])
    def test_a_lock_file_without_a_holder_expires_too(self, output, monkeypatch, content):
        hurry(monkeypatch, expiry_s=0.6)
        assert lock_file(f"{output}/{HOLDER}").create(content) is not None
        with pytest.raises(OutputError, match=r"it has not said which"), output_lock(output):
            pass
        time.sleep(0.8)
        with output_lock(output) as lock:
            lock.check()

    def test_a_lock_that_is_renewed_does_not_expire(self, output, monkeypatch):
        hurry(monkeypatch, expiry_s=4.0)  # longer than a busy machine delays a renewal
        other = lease_of(f"{output}/{HOLDER}", elsewhere())
        other.acquire()
        for _ in range(5):
            with pytest.raises(OutputError), output_lock(output):
                pass
            time.sleep(1.2)
        assert other.is_held()
        other.release()
        with output_lock(output):
            pass

    def test_who_slept_too_long_notices_that_the_lock_is_gone(self, output, monkeypatch):
        hurry(monkeypatch, expiry_s=0.5)
        other = lease_of(f"{output}/{HOLDER}", elsewhere())
        other.acquire()
        with silent(other):
            time.sleep(0.8)
            with output_lock(output) as lock:
                lock.check()
                other._stop.clear()
                assert not other.is_held()
                other.release()
                lock.check()

    def test_the_run_that_lost_the_lock_is_told_before_its_commit(self, output, monkeypatch):
        hurry(monkeypatch, renew_s=100, expiry_s=0.5)
        with output_lock(output) as lock:
            time.sleep(0.8)
            other = lease_of(f"{output}/{HOLDER}", elsewhere())
            other.acquire()
            with pytest.raises(OutputError, match="another process has taken over the lock"):
                lock.check()
        assert other.is_held()  # the end of the block does not delete the other's lock

    def test_a_lock_that_somebody_deleted_is_made_again(self, output):
        with output_lock(output) as lock:
            file = lock_file(f"{output}/{HOLDER}")
            file.delete(file.read().version)
            lock.check()
            assert file.read()

    def test_of_many_that_take_over_one_succeeds(self, output):
        if output.startswith(local_buckets.SCHEME):
            pytest.skip("without conditions, two may succeed")
        # The threads take turns within each step.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            self.take_over_together(output, 30 if "://" not in output else 5)
        finally:
            sys.setswitchinterval(interval)

    def test_a_claim_that_a_dead_process_left_behind_expires(self, tmp_path):
        path = tmp_path / HOLDER
        path.write_bytes(b"dead")
        lock, version = lock_file(str(path)), b"dead"
        claim = tmp_path / f"{HOLDER}-{hashlib.sha256(version).hexdigest()[:16]}-0"
        claim.touch()
        assert lock.take_over(version, b"mine") is None
        assert path.read_bytes() == b"dead"
        os.utime(claim, (time.time() - CLAIM_S - 1,) * 2)
        assert lock.take_over(version, b"mine") == b"mine"
        assert list(tmp_path.iterdir()) == [path]

    @staticmethod
    def take_over_together(output, rounds):
        for _ in range(rounds):
            left_behind(f"{output}/{HOLDER}", dataclasses.replace(Holder.this_process(), process="killed"))
            leases = [lease_of(f"{output}/{HOLDER}", elsewhere(f"host-{i}")) for i in range(8)]
            acquired = []

            def take(one: Lease, acquired: list = acquired) -> None:
                try:
                    one.acquire()
                    acquired.append(one)
                except LockedError:
                    pass

            threads = [threading.Thread(target=take, args=(one,)) for one in leases]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [one for one in leases if one.is_held()] == acquired
            assert len(acquired) == 1
            acquired[0].release()


class TestThisMachine:
    CODE = (
        "import sys, time; from pipelines.common.output_lock import output_lock\n"
        "from transforms.storage.gcs.client import patch_beam; patch_beam()\n"
    )

    def holder(self, output: str) -> subprocess.Popen:
        code = self.CODE + "with output_lock(sys.argv[1]): print('held', flush=True); time.sleep(100)"
        process = subprocess.Popen(
            [sys.executable, "-c", code, output], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        assert process.stdout.readline() == "held\n"
        return process

    @pytest.mark.parametrize("reaped", [True, False])
    def test_the_lock_of_a_killed_process_blocks_nobody(self, output, reaped):
        if output.startswith(local_buckets.SCHEME):
            pytest.skip("only this process knows this storage")
        process = self.holder(output)
        with pytest.raises(OutputError, match=rf"pid {process.pid}"), output_lock(output):
            pass
        process.kill()
        if reaped:
            process.wait()
        else:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with output_lock(output) as lock:
            lock.check()
        process.wait()
        process.stdout.close()

    def test_a_thread_that_takes_the_lock_loses_it_to_no_other(self, output, monkeypatch):
        uri = f"{output}/{HOLDER}"
        lease, other = Lease(lock_file(uri)), Lease(lock_file(uri))
        create = lease._file.create

        def create_before_the_other(content: bytes) -> object:
            version = create(content)
            with pytest.raises(LockedError):
                other.acquire()
            return version

        monkeypatch.setattr(lease._file, "create", create_before_the_other)
        lease.acquire()
        assert lease.is_held()
        lease.release()

    def test_a_later_process_with_the_same_number_is_another_one(self):
        own = Holder.this_process()
        assert dataclasses.replace(own, pid=1).has_ended()  # process 1 has started earlier
        assert not dataclasses.replace(own, pid=1, machine="x").has_ended()


class TestFaults:
    @pytest.mark.parametrize("fault", [503, RESET, CUT])
    def test_a_lost_answer_loses_no_lock(self, bucket: Bucket, proxy: Proxy, fault) -> None:
        proxy.fail = first(1, fault)
        with output_lock(bucket / "out") as lock:
            for _ in range(3):
                proxy.fail = first(1, fault)
                lock.check()
            proxy.fail = first(1, fault)
        assert bucket.names() == []

    def test_a_storage_that_refuses_is_an_output_error(self, bucket: Bucket, proxy: Proxy) -> None:
        proxy.fail = lambda _: 403
        with pytest.raises(OutputError, match="cannot write there"), output_lock(bucket / "out"):
            pass

    def test_a_storage_that_is_silent_for_a_while_loses_no_lock(self, bucket, proxy, monkeypatch) -> None:
        hurry(monkeypatch, renew_s=0.1, expiry_s=100)
        with output_lock(bucket / "out") as lock:
            proxy.fail = lambda _: 403
            time.sleep(0.5)
            proxy.fail = lambda _: None
            lock.check()
