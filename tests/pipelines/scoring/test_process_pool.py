"""Jobs are done once each, in this process or in several, which end together."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from pipelines.scoring.process_pool import Death, Pool, ThisProcess
from transforms.elements import AudioRef
from transforms.scoring.decode_watch import DecodeWatch


def note(folder: str, job: int) -> None:
    Path(folder, str(job)).write_text(str(os.getpid()), encoding="utf-8")


def note_access_to_buckets(folder: str, job: int) -> None:
    from apache_beam.io.gcp import gcsio

    Path(folder, str(job)).write_text(gcsio.GcsIO.__name__, encoding="utf-8")


def die(folder: str, job: int) -> None:
    if job == 2:
        os._exit(9)
    note(folder, job)


def fail(_: str, job: int) -> None:
    raise ValueError(f"job {job} cannot be done")


def run_all(jobs: Any, work: Callable, processes: int) -> Any:
    if processes == 1:
        yield from (job for job, _ in ThisProcess().results(jobs, work))
        return
    with Pool() as pool:
        yield from (job for job, _ in pool.results(jobs, work, processes))


@pytest.mark.parametrize("processes", [1, 2])
def test_each_job_is_done_once_before_it_is_yielded(tmp_path, processes):
    for job in run_all(range(5), functools.partial(note, str(tmp_path)), processes):
        assert (tmp_path / str(job)).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == list("01234")
    workers = {path.read_text() for path in tmp_path.iterdir()}
    assert len(workers) <= processes
    assert (str(os.getpid()) in workers) == (processes == 1)


def test_jobs_are_taken_only_by_free_processes(tmp_path):
    taken = []

    def jobs():
        for job in range(6):
            taken.append(job)
            yield job

    for count, _ in enumerate(run_all(jobs(), functools.partial(note, str(tmp_path)), 2), start=1):
        assert len(taken) <= count + 2


@pytest.mark.parametrize("processes", [1, 2])
def test_the_error_of_a_job_is_raised(tmp_path, processes):
    with pytest.raises(ValueError, match="cannot be done"):
        list(run_all(range(3), functools.partial(fail, str(tmp_path)), processes))


def test_child_processes_read_cloud_storage_as_the_launcher_does(tmp_path):
    list(run_all(range(2), functools.partial(note_access_to_buckets, str(tmp_path)), 2))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"CloudStorage"}


def test_a_process_that_dies_is_noticed(tmp_path):
    with pytest.raises(BrokenProcessPool):
        list(run_all(range(8), functools.partial(die, str(tmp_path)), 2))


def square(number: int) -> int:
    return number * number


class CannotBePickled(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def fail_oddly(_: int) -> None:
    raise CannotBePickled(1, 2)


def misbehave(folder: str, limit_s: float, job: str) -> str:
    """Decodes a recording with the name of what happens then."""
    watch = DecodeWatch(limit_s, folder)

    def decoded() -> Any:
        if job == "segfault":
            ctypes.string_at(0)
        elif job == "hang":
            time.sleep(3_600)
        elif job == "native hang":
            ctypes.PyDLL(None).sleep(3_600)
        yield job

    (done,) = watch.marked([AudioRef(job, f"/corpus/{job}", 0, "")], decoded())
    return done


def test_results_come_with_their_jobs_and_processes_are_kept():
    with Pool() as pool:
        assert sorted(pool.results(range(4), square, 2)) == [(0, 0), (1, 1), (2, 4), (3, 9)]
        assert list(pool.results([5], square, 1)) == [(5, 25)]


def test_an_error_that_cannot_be_pickled_is_told_in_words():
    with Pool() as pool, pytest.raises(RuntimeError, match="CannotBePickled: 1 and 2"):
        list(pool.results(range(2), fail_oddly, 1))


def test_a_process_that_dies_or_hangs_names_its_recording_and_other_jobs_are_done(tmp_path):
    deaths: dict[str, Death] = {}
    jobs = ["good", "segfault", "fine", "hang", "native hang", "last"]
    work = functools.partial(misbehave, str(tmp_path), 1.0)
    with Pool(str(tmp_path)) as pool:
        results = dict(pool.results(jobs, work, 2, lambda job, death: deaths.update({job: death})))
    assert results == {job: job if job in ("good", "fine", "last") else None for job in jobs}
    assert {job: death.mark.uri for job, death in deaths.items() if death.mark} == {
        job: f"/corpus/{job}" for job in ("segfault", "hang", "native hang")
    }
    assert [deaths[job].is_late for job in ("segfault", "hang", "native hang")] == [False, True, True]
    assert deaths["segfault"].exit_code == -signal.SIGSEGV
    assert str(deaths["segfault"]) == "SIGSEGV"


def test_a_job_is_repeated_as_the_caller_decides():
    def after(job: int, death: Death) -> int | None:
        return 3 if job == 2 and death.exit_code == 9 else None

    with Pool() as pool:
        assert list(pool.results([2], functools.partial(die_or_square, 2), 1, after)) == [(3, 9)]


def die_or_square(deadly: int, job: int) -> int:
    return job * job if job != deadly else os._exit(9)
