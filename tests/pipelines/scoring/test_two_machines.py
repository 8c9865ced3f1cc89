"""Two machines that score or compact one output: one is refused, or notices before its commit, and no row is there twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.common.output_lock import HOLDER
from pipelines.scoring.process_pool import ThisProcess
from tests.support.command import audiosieve, listen_to_ctrl_c
from tests.support.outputs import scored, write_output
from tests.support.storage.bucket_runs import upload_few
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.locks import elsewhere, hurry, lease_of, left_behind
from transforms.output.results import open_results
from transforms.storage.lock_files import lock_file


def rows(output: str) -> list[tuple[str]]:
    """Returns the ids of all rows of utterances and rejects."""
    with open_results(output).connect() as db:
        return db.sql(
            "(SELECT utterance_id FROM utterances UNION ALL SELECT utterance_id FROM rejects) ORDER BY 1"
        ).fetchall()


@pytest.fixture(params=["disk", "bucket"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An output on a shared disk, or in a bucket."""
    return str(tmp_path / "out") if request.param == "disk" else request.getfixturevalue("bucket") / "out"


@pytest.fixture
def few(samples: Path, tmp_path: Path) -> Path:
    """Two recordings."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("clean.flac", "noise_20db.flac"):
        shutil.copy(samples / name, folder)
    return folder


def test_score_and_compact_are_refused_while_another_machine_writes(
    output: str, few: Path, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        write_output(tmp_path / "local", [scored(name, 3.0)])
    if output.startswith("gs:"):
        bucket.upload(tmp_path / "local", "out")
    else:
        shutil.copytree(tmp_path / "local", output)
    other = lease_of(f"{output}/{HOLDER}", elsewhere("gpu-7"))
    other.acquire()
    for words in (["score", "--input", few, "--output", output], ["compact", output]):
        said = audiosieve(*words, status=2).stderr
        assert f"--output {output}: another audiosieve process is writing there (host gpu-7, pid 4711, since 2" in said
        assert "run this command again in " in said
        assert said.count("\n") == 1
    assert len(rows(output)) == 2
    other.release()
    hurry(monkeypatch, expiry_s=0.5)
    left_behind(f"{output}/{HOLDER}", elsewhere("gpu-7"))  # it was killed
    while True:
        try:
            assert "2 files with 2 rows became 1" in audiosieve("compact", output).stdout
            break
        except AssertionError as error:
            assert "another audiosieve process" in str(error)  # noqa: PT017 -- until the lock has expired


def test_a_run_commits_nothing_if_another_has_committed_meanwhile(
    output: str, few: Path, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last resort, if the lock does not work: the other run has scored the same recordings."""
    results = ThisProcess.results

    def run_and_disturb(*arguments: Any) -> Iterator[Any]:
        for job in results(*arguments):
            write_output(tmp_path / "other", [scored("clean.flac", 3.0), scored("noise_20db.flac", 3.0)])
            if output.startswith("gs:"):
                bucket.upload(tmp_path / "other", "out")
            else:
                shutil.copytree(tmp_path / "other", output, dirs_exist_ok=True)
            yield job

    monkeypatch.setattr(ThisProcess, "results", run_and_disturb)
    said = audiosieve("score", "--input", few, "--output", output, status=2).stderr
    assert "another process has changed the output (run 2" in said
    assert "run the same command again" in said
    assert len(rows(output)) == len(set(rows(output))) == 2


def test_a_run_commits_nothing_after_it_has_lost_the_lock(
    output: str, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = ThisProcess.results
    monkeypatch.setattr("transforms.storage.lease.EXPIRY_S", 0.0)

    def run_and_sleep(*arguments: Any) -> Iterator[Any]:
        for job in results(*arguments):
            lease_of(f"{output}/{HOLDER}", elsewhere()).acquire()
            yield job

    monkeypatch.setattr(ThisProcess, "results", run_and_sleep)
    said = audiosieve("score", "--input", few, "--output", output, status=2).stderr
    assert "another process has taken over the lock" in said
    assert "contains no completed run" in audiosieve("query", output, status=2).stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_keeps_nobody_waiting(output: str, few: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "score", "--input", few, "--output", output]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, preexec_fn=listen_to_ctrl_c)
    assert process.stderr is not None
    assert "scoring 2 utterances" in process.stderr.readline()
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert "interrupted; 0 waves with 0 utterances (0.0 s) are committed" in said
    assert lock_file(f"{output}/{HOLDER}").read() is None


@pytest.mark.slow
def test_two_machines_that_start_together_write_each_row_once(bucket: Bucket, samples: Path) -> None:
    corpus = upload_few(bucket, samples)
    words = ["score", "--input", corpus, "--output", bucket / "out"]
    code = (
        "import sys; from transforms.storage import lease; lease._machine = lambda: sys.argv[1]\n"
        "from pipelines.cli import main; sys.exit(main(sys.argv[2:]))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, host, *words], stderr=subprocess.PIPE, text=True, env={**os.environ}
        )
        for host in ("one", "two")
    ]
    said = [process.communicate(timeout=500)[1] for process in processes]
    statuses = [process.returncode for process in processes]
    assert 0 in statuses, said
    assert set(statuses) <= {0, 2}, said
    assert all(
        "another audiosieve process is writing there" in text
        for text, status in zip(said, statuses, strict=True)
        if status
    )
    assert len(rows(bucket / "out")) == len(set(rows(bucket / "out"))) == 3
