"""A failed job on Dataflow does not block later runs, and an active one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.scoring.dataflow_jobs import JOB, abandon_ended, describe_job
from tests.support.command import audiosieve
from tests.support.deployment.dataflow_service import PROJECT, REGION, DataflowService
from tests.support.deployment.staged_job import printed_by
from tests.support.storage.bucket_runs import upload_few
from tests.support.storage.gcs_emulator import Bucket
from transforms.output.ledger import Ledger
from transforms.storage.gcs.client import EMULATOR

RUN = "20261127T182136Z-0a1b2c"
ID = "2026-11-27_18_20_00-1234567890123456789"
PLACE = {"project": PROJECT, "region": REGION}
BY_ID, BY_NAME = {**PLACE, "id": ID}, {**PLACE, "name": "nightly"}
CLOUD = [f"--project={PROJECT}", f"--region={REGION}"]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[DataflowService]:
    monkeypatch.setenv(EMULATOR, "http://127.0.0.1:1")  # no credentials are searched for
    with DataflowService().serving() as service:
        yield service


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--job_name=nightly"], {JOB: BY_NAME}),
        ([], {JOB: {**PLACE, "name": f"audiosieve-{RUN.lower()}"}}),
        ([f"--template_location=gs://b/staging/template_launches/{ID}/job_object", "--job_name=x"], {JOB: BY_ID}),
        (["--template_location=gs://b/templates/classic"], {}),
    ],
)
def test_the_request_of_a_run_names_its_job(arguments, expected):
    options = PipelineOptions([*CLOUD, *arguments])
    assert describe_job(DataflowRunner(), options, RUN) == expected
    if "name" in expected.get(JOB, {}):
        assert options.view_as(GoogleCloudOptions).job_name == expected[JOB]["name"]
    assert describe_job(FnApiRunner(), options, RUN) == {}


def pending_after(ledger: Ledger, job: dict, service: DataflowService, started_s: float = 1_700_000_000.0) -> dict:
    """Returns the pending runs, after those with ended jobs are abandoned."""
    ledger.begin(RUN, {"started_s": started_s, JOB: job} if job else {"started_s": started_s})
    options = PipelineOptions([f"--dataflow_endpoint={service.endpoint}"])
    remaining = abandon_ended(ledger, ledger.pending(), options)
    assert list(remaining) == ledger.pending()
    return remaining


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "out"), ("utterances",))


@pytest.mark.parametrize("job", [BY_ID, BY_NAME])
@pytest.mark.parametrize("state", ["DONE", "FAILED", "CANCELLED", "DRAINED", "UPDATED"])
def test_a_run_whose_job_has_ended_is_abandoned(ledger, service, capsys, job, state):
    service.add(state, id=ID)
    assert pending_after(ledger, job, service) == {}
    assert f"run {RUN} is given up" in capsys.readouterr().err


@pytest.mark.parametrize("job", [BY_ID, BY_NAME])
@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "QUEUED", "CANCELLING", "UNKNOWN", "A_STATE_OF_THE_FUTURE"])
def test_a_run_whose_job_is_active_stays(ledger, service, job, state):
    service.add("FAILED")  # an earlier or later job of the same name
    service.add(state, id=ID)
    assert pending_after(ledger, job, service)[RUN].endswith(f"has the state JOB_STATE_{state}")


def test_a_job_of_the_same_name_that_ended_before_is_another_one(ledger, service):
    service.add("FAILED", time="2023-11-14T00:00:00Z", id=ID)
    assert "the service knows no such job" in pending_after(ledger, BY_NAME, service)[RUN]


@pytest.mark.parametrize(
    ("job", "status", "said"),
    [
        (BY_ID, 200, "there is no such job"),
        (BY_NAME, 200, "knows no such job"),
        (BY_ID, 403, "does not have permission"),
        ({}, 200, ""),
    ],
)
def test_a_run_whose_job_is_unknown_stays(ledger, service, job, status, said):
    service.status = status
    assert said in pending_after(ledger, job, service)[RUN]


def test_a_service_that_does_not_answer_is_reported(ledger, service):
    service.endpoint = "http://127.0.0.1:1"
    assert f"the state of its job {ID} on Dataflow is unknown" in pending_after(ledger, BY_ID, service)[RUN]


@pytest.mark.slow
def test_a_failed_template_job_does_not_block_the_next_launch(
    bucket: Bucket, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        PipelineOptionsValidator, "validate_endpoint_url", lambda *_: True
    )  # Beam allows only Google's addresses
    source, output = upload_few(bucket, samples), bucket / "out"
    name = bucket.uri.removeprefix("gs://")

    def launch(job: str, *options: str, status: int = 0) -> str:
        (words,) = printed_by("run", source, output, PROJECT=PROJECT, REGION=REGION, BUCKET=name, JOB_NAME="nightly")
        template = bucket / f"staging/template_launches/{job}/job_object"
        done = audiosieve(*words[1:], f"--template_location={template}", *options, status=status)
        return done.stdout + done.stderr

    with DataflowService().serving() as service:
        at_service = f"--dataflow_endpoint={service.endpoint}"
        assert "a job started from it commits run" in launch("2026-11-27_01_00_00-1", at_service)
        service.add("RUNNING", id="2026-11-27_01_00_00-1")
        refused = launch("2026-11-28_01_00_00-2", at_service, status=2)
        assert "its job 2026-11-27_01_00_00-1 on Dataflow has the state JOB_STATE_RUNNING" in refused
        service.jobs.clear()
        service.add("FAILED", id="2026-11-27_01_00_00-1")
        again = launch("2026-11-28_01_00_00-2", at_service)
        assert "has ended without a commit (JOB_STATE_FAILED)" in again
        assert "a job started from it commits run" in again
        assert len({key.split("/")[2] for key in bucket.names("out/_runs/") if ".pending/" in key}) == 1
        # A local command takes the run over, too.
        service.add("CANCELLED", id="2026-11-28_01_00_00-2")
        local = audiosieve("score", "--input", source, "--output", output, at_service)
        assert "2 scored, 1 rejected" in local.stdout
