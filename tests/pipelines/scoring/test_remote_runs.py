"""Runs as a job of another runner: Beam's portable runner, whose job service is in this process."""

from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from model.bundle import DEFAULT, open_bundle
from pipelines.score import parse
from pipelines.scoring.runs import RemoteRun
from tests.support.command import Output, audiosieve, audiosieve_process
from tests.support.outputs import shown_frames
from transforms.output.ledger import Ledger
from transforms.runs.commit import Commit

pytestmark = pytest.mark.slow

ELSEWHERE = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")


def records(output: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((output / "_runs").glob("*.json"))]


def same_rows(output: Path, expected: Output) -> None:
    found = Output(output)
    assert found.scores == pytest.approx(expected.scores, abs=1e-3)
    assert {row["utterance_id"] for row in found.rejects} == {row["utterance_id"] for row in expected.rejects}
    assert {name: len(frames) for name, frames in found.frame_scores.items()} == {
        name: len(frames) for name, frames in expected.frame_scores.items()
    }


@pytest.mark.parametrize("listing", ["launcher", "workers"])
def test_the_output_is_that_of_a_local_run(samples, sample_run, tmp_path, listing):
    output = tmp_path / "out"
    done = audiosieve_process("score", "--input", samples, "--output", output, *ELSEWHERE, "--listing", listing)
    assert "8 scored, 1 rejected (1 corrupt), 0 skipped" in done.stdout
    same_rows(output, sample_run)
    (record,) = records(output)
    assert record["counts"] == {"listed": 9, "skipped": 0, "scored": 8, "rejected": 1}
    assert record["work"]["frames"] == sum(shown_frames(samples / row["utterance_id"]) for row in sample_run.utterances)
    assert not list((output / "_runs").glob("*.pending"))
    again = audiosieve_process("score", "--input", samples, "--output", output, *ELSEWHERE, "--listing", listing)
    assert "0 scored, 0 rejected, 9 skipped" in again.stdout


def test_a_job_that_rejects_all_inputs_is_exit_status_3(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "README", "notes.txt"):
        (tmp_path / "in" / name).write_text("not audio")
    done = audiosieve("score", "--input", tmp_path / "in", "--output", tmp_path / "out", *ELSEWHERE, status=3)
    assert "0 scored, 1 rejected (1 unsupported_format), 2 other files, 0 skipped" in done.stdout
    assert "no utterance has a score, because all inputs were rejected" in done.stderr
    assert len(Output(tmp_path / "out").rejects) == 3


def test_a_failed_job_commits_nothing_and_is_not_pending(samples, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("the disk of the worker is gone")

    monkeypatch.setattr(Commit, "process", fail)
    output = tmp_path / "out"
    done = audiosieve("score", "--input", samples, "--output", output, *ELSEWHERE, status=1)
    assert "the job failed and committed nothing" in done.stderr
    assert records(output) == []
    monkeypatch.undo()
    audiosieve("score", "--input", samples, "--output", output)
    assert len(records(output)) == 1


def test_a_pending_run_is_not_disturbed_and_can_be_forgotten(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.scoring.runs.build", lambda *_: None)  # a job that never commits
    output = tmp_path / "out"
    done = audiosieve("score", "--input", samples, "--output", output, *ELSEWHERE, status=1)
    (run_id,) = (path.name.removesuffix(".pending") for path in (output / "_runs").glob("*.pending"))
    assert f"--forget {run_id}" in done.stderr
    monkeypatch.undo()
    refused = audiosieve("score", "--input", samples, "--output", output, status=2)
    assert run_id in refused.stderr
    assert "is not committed yet" in refused.stderr
    wrong = audiosieve("score", "--input", samples, "--output", output, "--forget", "x", status=2)
    assert f"--forget x: this run is not pending; pending runs: {run_id}" in wrong.stderr
    audiosieve("score", "--input", samples, "--output", output, "--forget", run_id)
    assert [record["run_id"] for record in records(output)] != [run_id]
    assert not list((output / "_runs").glob("*.pending"))


def test_a_job_that_could_not_be_started_is_not_pending(samples, tmp_path, monkeypatch):
    def refuse(_: beam.Pipeline) -> None:
        raise RuntimeError("the quota is used up")

    monkeypatch.setattr(beam.Pipeline, "run", refuse)
    output = tmp_path / "out"
    done = audiosieve("score", "--input", samples, "--output", output, *ELSEWHERE, status=1)
    assert "the job could not be started: the quota is used up" in done.stderr
    assert Ledger(str(output), ("utterances",)).pending() == records(output) == []


class Result:
    """Handle of a job whose runner raises an error while the job runs or after it failed."""

    def __init__(self, state: str, error: BaseException) -> None:
        self.state, self._error = state, error

    def wait_until_finish(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("result", "status", "said", "pending"),
    [
        (
            Result("RUNNING", OSError("the network is gone")),
            1,
            "the state of the job is unknown (the network is gone)",
            True,
        ),
        (Result("RUNNING", KeyboardInterrupt()), 130, "interrupted; the job may still run", True),
        (Result("FAILED", RuntimeError("a worker\nTraceback")), 1, "committed nothing: a worker\n", False),
        (Result("CANCELLED", RuntimeError("cancelled")), 1, "committed nothing: cancelled", False),
    ],
)
def test_only_a_failed_job_is_abandoned(tmp_path, capsys, result, status, said, pending):
    ledger = Ledger(str(tmp_path / "out"), ("utterances",))
    options, _ = parse(["--input", "corpus", "--output", str(tmp_path / "out")])
    run = RemoteRun(options, [], open_bundle(DEFAULT), ledger, FnApiRunner(), PipelineOptions([]))
    ledger.begin(run.run_id, {})
    assert run.wait(result) == status
    assert said in capsys.readouterr().err
    assert bool(ledger.pending()) == pending


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--listing", "workers"), "needs another runner"),
        ((*ELSEWHERE, "--listing", "workers", "--dry_run"), "leave out --listing workers"),
        ((*ELSEWHERE, "--listing", "nobody"), "invalid choice: 'nobody'"),
        (("--log_level", "loud"), "invalid choice: 'loud'"),
        (("--runner", "NoSuchRunner"), "NoSuchRunner cannot be used"),
    ],
)
def test_wrong_options_are_refused_before_the_job_starts(samples, tmp_path, arguments, said):
    done = audiosieve("score", "--input", samples, "--output", tmp_path / "out", *arguments, status=2)
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_cannot_be_listed_by_workers(samples, tmp_path):
    file = samples / "clean.flac"
    options = ("--output", tmp_path / "out", *ELSEWHERE, "--listing", "workers")
    assert "needs a folder" in audiosieve("score", "--input", file, *options, status=2).stderr
