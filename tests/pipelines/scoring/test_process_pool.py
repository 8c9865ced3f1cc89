"""Jobs in processes, and how far they are."""

from __future__ import annotations

import errno
import functools
import io
import os
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from pipelines.common.output_lock import output_lock
from pipelines.scoring import process_pool
from pipelines.scoring.process_pool import Progress, bar, progress_facts, run_all
from transforms.errors import OutputError
from transforms.progress_counters import ProgressCounter, ProgressCounts, read_counters


def note(folder: str, job: int) -> None:
    Path(folder, str(job)).write_text(str(os.getpid()), encoding="utf-8")


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


def test_jobs_are_taken_only_as_processes_get_free(tmp_path):
    taken = []

    def jobs():
        for job in range(6):
            taken.append(job)
            yield job

    for count, _ in enumerate(run_all(jobs(), functools.partial(note, str(tmp_path)), 2), start=1):
        assert len(taken) <= count + 2


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failure_is_that_of_the_job(tmp_path, processes):
    with pytest.raises(ValueError, match="cannot be done"):
        list(run_all(range(3), functools.partial(fail, str(tmp_path)), processes))


def test_a_process_that_dies_is_noticed(tmp_path):
    with pytest.raises(BrokenProcessPool):
        list(run_all(range(8), functools.partial(die, str(tmp_path)), 2))


class TestProgress:
    def test_tallies_of_all_processes_are_added(self, tmp_path, monkeypatch):
        monkeypatch.setattr("transforms.progress_counters._EVERY_S", 0.0)
        for pid in (1, 2):
            monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
            tally = ProgressCounter(str(tmp_path))
            tally.add(scored=2, audio_s=10.0)
            tally.add(rejected=1)
        assert read_counters(str(tmp_path)) == ProgressCounts(4, 2, 20.0)

    def test_where_nobody_looks_nothing_is_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        ProgressCounter(None).add(scored=1)
        assert not list(tmp_path.iterdir())

    def test_facts_of_a_run_half_done(self):
        facts = progress_facts(ProgressCounts(50, 2, 1_800.0), 104, 3_600.0, 3.0, 1)
        assert facts == {
            "scored": 50, "rejected": 2, "of": 104, "hours": 0.5, "of_hours": 1.0, "x_real_time": 600, "seconds_left": 3,
            "waves_committed": 1,
        }  # fmt: skip
        line = bar(facts)
        assert (
            "[############............] 52 of 104 files, 0.50 of 1.00 h, 600 x real time, 0:00:03 left, 2 rejected"
            in line
        )

    def test_before_anything_is_done_no_time_is_promised(self):
        facts = progress_facts(ProgressCounts(), 10, 3_600.0, 1.0, 0)
        assert facts["seconds_left"] == -1
        assert "just begun" in bar(facts)

    def test_what_is_committed_corrects_the_guess(self, tmp_path):
        progress = Progress(str(tmp_path), 10, 1_000.0)
        assert progress.total_s == 1_000.0
        progress.committed(400.0, 200.0)
        assert progress.total_s == 500.0

    def test_off_a_terminal_it_is_a_json_line_now_and_then(self, tmp_path, monkeypatch):
        out = io.StringIO()
        monkeypatch.setattr(process_pool, "LINE_S", 0.01)
        monkeypatch.setattr("sys.stderr", out)
        with Progress(str(tmp_path), 10, 1_000.0).shown():
            while not out.getvalue():
                time.sleep(0.01)
        assert out.getvalue().startswith('{"scored": 0, "rejected": 0, "of": 10')


def test_where_nothing_can_be_locked_a_run_goes_on_and_says_so(tmp_path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with output_lock(tmp_path / "out"):
        pass
    assert "cannot be locked" in capsys.readouterr().err


def test_two_runs_do_not_work_in_one_folder(tmp_path):
    with (
        output_lock(tmp_path / "out"),
        pytest.raises(OutputError, match="another audiosieve"),
        output_lock(tmp_path / "out"),
    ):
        pass
