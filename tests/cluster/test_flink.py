"""Tests of `audiosieve score` on Flink: a JobManager, two TaskManagers and Python workers, all separate processes."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

import audiosieve
from tests.support.committed_rows import assert_alike, committed_rows
from tests.support.deployment.cluster import Cluster, children, done, listener, opened, score, wait_for
from transforms.errors import OutputError

# How often each victim is killed. `AUDIOSIEVE_KILLS=5 make test-cluster` is slow.
KILLS = int(os.environ.get("AUDIOSIEVE_KILLS", "1"))

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_800)]


def test_the_rows_are_those_of_a_local_run(flink, many, local_output, tmp_path):
    done(score(many, tmp_path / "out", *flink.options))
    assert_alike(committed_rows(tmp_path / "out"), committed_rows(local_output))
    (job,) = flink.get("/jobs/overview")["jobs"]
    (scoring,) = scoring_vertices(flink, job["jid"])
    where = {subtask["taskmanager-id"] for subtask in flink.get(f"/jobs/{job['jid']}/vertices/{scoring}")["subtasks"]}
    assert len(where) == 2, "one TaskManager had no task"


@pytest.mark.parametrize("victims", ["TaskManager", "TaskManager and worker", "worker"] * KILLS)
def test_killed_in_the_middle_of_scoring_nothing_is_lost_and_nothing_doubled(
    flink, many, local_output, tmp_path, victims
):
    output = tmp_path / "out"
    wait_for(lambda: True if flink.get("/overview")["taskmanagers"] == 2 else None)
    run = score(many, output, *flink.options)
    worker, file = wait_for(lambda: scorer_at_work(flink, output))
    task_manager = task_manager_of(flink, worker)
    if victims != "worker":
        os.kill(flink.state["processes"][task_manager], signal.SIGKILL)
    if victims != "TaskManager":
        os.kill(worker, signal.SIGKILL)
    job = running_job(flink)
    assert job, "the job ended before the kill"
    done(run)
    assert restarts(flink, job) > 0
    assert_alike(committed_rows(output), committed_rows(local_output))
    # The file that it was writing still exists, and does not count.
    assert file.exists()
    assert file.name not in {
        Path(name).name for record in audiosieve.open_run(output).records for name in record["files"]
    }


def scorer_at_work(flink: Cluster, output: Path) -> tuple[int, Path] | None:
    """Returns a Python worker in the middle of a bundle, and the file of scores that it is writing."""
    frames = str(output / "frames") + "/"
    for worker in children(flink.state["processes"]["worker_pool"]):
        for path in opened(worker):
            if path.startswith(frames) and Path(path).stat().st_size > 10_000:
                return worker, Path(path)
    return None


def task_manager_of(flink: Cluster, worker: int) -> str:
    """Returns the TaskManager of a Python worker: the process that listens at the worker's control port."""
    log = (flink.folder / "worker_pool.log").read_text()
    (port,) = re.findall(rf"localhost:(\d+) is process {worker}$", log, re.MULTILINE)
    socket = listener(int(port))
    (name,) = [name for name, pid in flink.state["processes"].items() if socket in opened(pid)]
    return name


def running_job(flink: Cluster) -> str | None:
    """Returns the id of the running job, if there is one."""
    jobs = [job["jid"] for job in flink.get("/jobs/overview")["jobs"] if job["state"] in ("RUNNING", "RESTARTING")]
    return jobs[0] if jobs else None


def scoring_vertices(flink: Cluster, job: str) -> list[str]:
    return [vertex["id"] for vertex in flink.get(f"/jobs/{job}")["vertices"] if "Featurize" in vertex["name"]]


def restarts(flink: Cluster, job: str) -> int:
    """Returns how often Flink restarted the task that scores."""
    attempts = [
        subtask["attempt"]
        for vertex in scoring_vertices(flink, job)
        for subtask in flink.get(f"/jobs/{job}/vertices/{vertex}")["subtasks"]
    ]
    return max(attempts)


def test_a_job_whose_command_was_killed_commits_itself(flink, samples, tmp_path):
    output = tmp_path / "out"
    run = score(samples, output, *flink.options)
    job = wait_for(lambda: running_job(flink))
    run.kill()
    run.communicate()
    wait_for(lambda: True if flink.get(f"/jobs/{job}")["state"] == "FINISHED" else None)
    assert audiosieve.open_run(output).dataset("utterances").count_rows() == 8
    assert not list((output / "_runs").glob("*.pending"))


def test_a_job_that_fails_commits_nothing_and_the_next_one_all(flink, samples, tmp_path):
    """This job looks for Python workers at an address without a pool."""
    output = tmp_path / "out"
    nowhere = [option for option in flink.options if not option.startswith("--environment_config")]
    said = done(score(samples, output, *nowhere, "--environment_config=localhost:1"), status=1)
    assert "audiosieve score: the job failed and committed nothing: " in said
    assert "Traceback" not in said
    with pytest.raises(OutputError):
        audiosieve.open_run(output)
    done(score(samples, output, *flink.options))
    assert audiosieve.open_run(output).dataset("utterances").count_rows() == 8
