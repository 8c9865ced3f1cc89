"""Jobs are done once each, in this process or in several, which end together."""

from __future__ import annotations

import functools
import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from pipelines.scoring.process_pool import run_all


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
