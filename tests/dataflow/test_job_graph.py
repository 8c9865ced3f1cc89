"""Tests of jobs for Dataflow, staged offline: their content, and that they do the work of a local run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.internal import pickler
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from tests.support.command import Output, audiosieve
from tests.support.deployment.staged_job import ROOT, Job, printed_by, run_elsewhere, stage
from tests.support.storage.gcs_emulator import Bucket
from transforms.schemas import SCORE_TABLES
from transforms.storage.gcs.client import EMULATOR, PLUGIN

pytestmark = pytest.mark.slow
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def bucket(emulator: str) -> Iterator[Bucket]:
    """One bucket for all tests of this file, which only read the staged jobs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(EMULATOR, emulator)
        yield Bucket(emulator)


@pytest.fixture(scope="module")
def corpus(bucket: Bucket, samples: Path) -> str:
    """The sample recordings, in a bucket."""
    return bucket.upload(samples, "corpus")


@pytest.fixture(scope="module")
def job(bucket: Bucket, corpus: str) -> Job:
    """The job for the samples, as `cloud.sh run` stages it."""
    return stage(bucket, corpus, bucket / "scores")


@pytest.fixture(scope="module")
def ran(bucket: Bucket, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of a staged job after its run."""
    run_elsewhere(stage(bucket, corpus, bucket / "ran"), tmp_path_factory.mktemp("worker"))
    return bucket / "ran"


@pytest.mark.parametrize(
    ("first", "last"),
    [("Featurize", "Score"), ("Score", "WriteFrames"), ("Score", "WriteUtterances"), ("Featurize", "WriteRejects")],
)
def test_nothing_is_shuffled_between_decoding_and_files(job: Job, first: str, last: str) -> None:
    assert_not_shuffled(job, first, last)


def assert_not_shuffled(job: Job, first: str, last: str) -> None:
    """Asserts that no element moves to another worker between two steps."""
    steps = job.between(first, last)
    assert len(steps) >= 3
    for step in steps.values():
        assert step.spec.urn in {common_urns.primitives.PAR_DO.urn, common_urns.primitives.FLATTEN.urn}, (
            step.unique_name
        )
        if step.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload)
            assert not payload.side_inputs
            assert not payload.state_specs
            assert not payload.timer_family_specs
            assert not payload.requires_stable_input


def test_a_shuffle_would_be_found(job: Job) -> None:
    with pytest.raises(AssertionError, match=r"Spread.*GroupByKey"):
        assert_not_shuffled(job, "Spread", "Score")


def test_recordings_are_spread_over_the_workers_before_they_are_decoded(job: Job) -> None:
    before = job.before("Featurize")
    assert any(step.unique_name in job.shuffles() for step in before.values())


@pytest.mark.parametrize("profile", ["cpu-small", "cpu-large", "gpu-l4"])
def test_workers_are_those_of_the_profile(bucket: Bucket, corpus: str, profile: str) -> None:
    network = {
        "SUBNETWORK": "regions/r/subnetworks/s",
        "ZONE": "europe-west4-a",
        "SERVICE_ACCOUNT": "a@b.iam.gserviceaccount.com",
    }
    job = stage(bucket, corpus, bucket / profile, PROFILE=profile, LABELS="app=audiosieve,team=speech", **network)
    (words,) = printed_by("run", corpus, bucket / "scores", PROFILE=profile)
    asked = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    workers = job.workers
    assert workers["machineType"] == asked["machine_type"]
    assert workers["diskSizeGb"] == int(asked["disk_size_gb"])
    assert workers["autoscalingSettings"] == {
        "algorithm": "AUTOSCALING_ALGORITHM_BASIC",
        "maxNumWorkers": int(asked["max_num_workers"]),
    }
    assert workers["numThreadsPerWorker"] == 1
    assert workers["subnetwork"] == network["SUBNETWORK"]
    assert workers["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert job.environment["workerZone"] == network["ZONE"]
    assert job.environment["serviceAccountEmail"] == network["SERVICE_ACCOUNT"]
    assert job.description["labels"] == {"app": "audiosieve", "team": "speech"}
    assert "use_multiple_sdk_containers" in job.environment["experiments"]
    gpu = "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver;use_nvidia_mps"
    assert (gpu in job.environment.get("serviceOptions", [])) == (profile == "gpu-l4")


def test_workers_run_the_image_only(job: Job) -> None:
    image = "europe-west4-docker.pkg.dev/some-project/audiosieve/audiosieve-cpu:1"
    (container,) = job.workers["sdkHarnessContainerImages"]
    assert container["containerImage"] == image
    # One SDK process per core.
    assert container["useSingleCorePerContainer"] is True
    (environment,) = job.pipeline.components.environments.values()
    assert beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image == image
    # Beam lists the launcher's packages for information; workers install none of them.
    assert [package["name"] for package in job.workers["packages"]] == ["submission_environment_dependencies.txt"]
    assert job.options["save_main_session"] is False
    assert job.options["sdk_location"] == "container"
    # Workers import it before they run any step.
    assert PLUGIN in job.options["beam_plugins"]


def test_a_job_whose_workers_list_the_corpus_holds_none_of_it(bucket: Bucket, corpus: str) -> None:
    job = stage(bucket, corpus, bucket / "listed", "--listing=workers")
    assert_not_shuffled(job, "Featurize", "WriteFrames")
    assert job.local_paths() == set()
    assert b"noise_00db" not in job.pipeline.SerializeToString()


def test_the_job_holds_no_path_of_the_launcher(job: Job) -> None:
    assert job.local_paths() == set()


@pytest.mark.parametrize(
    "path", [f"{tempfile.gettempdir()}/notes", *(f"{ROOT}/{'long_' * n}bundle.json" for n in range(1, 40))]
)
def test_the_search_finds_a_path_of_the_launcher(path: str) -> None:
    """In plain text and in a pickle, at any length."""
    for payload in (f"see {path} ".encode(), pickler.dumps({"model": path})):
        step = beam_runner_api_pb2.PTransform(unique_name="Extra")
        step.display_data.add(payload=payload)
        pipeline = beam_runner_api_pb2.Pipeline()
        pipeline.components.transforms["extra"].CopyFrom(step)
        assert Job({}, pipeline).local_paths() == {path}


def test_the_staged_job_is_small_for_any_corpus(bucket: Bucket, job: Job) -> None:
    for number in range(400):
        bucket.write(f"many/{number:04d}_of_a_corpus_with_long_names.flac", b"")
    many = stage(bucket, bucket / "many", bucket / "scores_of_many")
    few, lots = (len(found.pipeline.SerializeToString()) for found in (job, many))
    assert abs(lots - few) < 1_000
    assert lots < 400_000


def test_the_templates_launcher_stages_the_same_job(bucket: Bucket, corpus: str, job: Job, tmp_path: Path) -> None:
    """Runs in another folder, with the arguments that Dataflow's launcher derives from the printed gcloud command."""
    (words,) = printed_by(
        "run-template", corpus, bucket / "launched", "--overwrite", BUCKET=bucket.uri.removeprefix("gs://")
    )
    parameters = [word.partition("^;;^")[2] for word in words if word.startswith("--parameters=")]
    flags = dict(word.split("=", 1) for word in words if word.startswith("--") and not word.startswith("--parameters="))
    template = bucket / "templates/launched.json"
    arguments = [
        "--runner=DataflowRunner",
        f"--template_location={template}",
        f"--job_name={words[4]}",
        *(
            f"--{flag.strip('-').replace('-', '_')}={flags[flag]}"
            for flag in ("--project", "--region", "--temp-location", "--staging-location")
        ),
        f"--machine_type={flags['--worker-machine-type']}",
        f"--max_num_workers={flags['--max-workers']}",
        f"--labels={json.dumps(dict([flags['--additional-user-labels'].split('=')]))}",
        *(f"--{parameter}" for parameter in parameters),
    ]
    before = set(bucket.names())
    done = subprocess.run(
        [sys.executable, ROOT / "dataflow" / "launch.py", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert template in done.stdout
    (graph,) = (name for name in set(bucket.names()) - before if name.endswith("/pipeline.pb"))
    launched = Job(
        json.loads(bucket.read("templates/launched.json")), beam_runner_api_pb2.Pipeline.FromString(bucket.read(graph))
    )
    assert launched.local_paths() == set()
    steps, expected = (sorted(leaf.unique_name for leaf in found.leaves().values()) for found in (launched, job))
    assert steps == expected
    assert launched.workers | {"packages": []} == job.workers | {"packages": []}  # stored elsewhere
    assert launched.description["labels"] == job.description["labels"]


def test_staging_runs_nothing_and_prints_the_place_of_the_job(bucket: Bucket, job: Job) -> None:
    assert job.printed.count("\n") == 1
    assert job.template in job.printed
    assert bucket / "scores" in job.printed
    written = bucket.names("scores/")
    assert all(name.startswith("scores/_runs/") and ".pending" in name for name in written), written


def test_the_staged_job_writes_the_rows_of_a_local_run(
    bucket: Bucket, ran: str, sample_run: Output, tmp_path: Path
) -> None:
    remote = Output(bucket.download(ran.removeprefix(f"{bucket.uri}/"), tmp_path / "scores"))
    for table, schema in SCORE_TABLES.items():
        key = [name for name in ("utterance_id", "frame", "start_s") if name in schema.names]
        ours, local = (
            sorted(getattr(output, table), key=lambda row: [row[name] for name in key])
            for output in (remote, sample_run)
        )
        assert len(ours) == len(local) > 0
        for row, expected in zip(ours, local, strict=True):
            assert list(row) == list(expected)
            for name, value in expected.items():
                if name == "uri":
                    assert row[name] == f"{bucket / 'corpus'}/{Path(value).name}"
                elif name == "source_version":  # size and upload time
                    assert row[name].partition("-")[0] == value.partition("-")[0]
                elif isinstance(value, float):
                    assert row[name] == pytest.approx(value, abs=TOLERANCE), (table, name)
                else:
                    assert row[name] == value, (table, name)


def test_the_staged_job_commits_itself(bucket: Bucket, corpus: str, ran: str) -> None:
    (name,) = bucket.names("ran/_runs/")
    record = json.loads(bucket.read(name))
    assert record["counts"] == {"listed": 9, "scored": 8, "rejected": 1, "skipped": 0}
    again = audiosieve("score", "--input", corpus, "--output", ran)
    assert "0 scored, 0 rejected, 9 skipped as already done" in again.stdout
