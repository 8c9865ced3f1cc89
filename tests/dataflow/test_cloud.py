"""Tests of dataflow/cloud.sh and the profiles: gcloud, Beam and audiosieve know every printed command and option."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, PipelineOptions, WorkerOptions

from pipelines.score import parse
from tests.support.deployment.gcloud_flags import TARGET, table
from tests.support.deployment.staged_job import CLOUD, ROOT, SETTINGS, printed_by

FLAGS: dict[str, list[str]] = json.loads(TARGET.read_text())["flags"]
PROFILES = sorted(path.stem for path in (ROOT / "dataflow" / "profiles").glob("*.options"))
FULL = {
    "SERVICE_ACCOUNT": "a@b.iam.gserviceaccount.com",
    "SUBNETWORK": "regions/r/subnetworks/s",
    "ZONE": "europe-west4-a",
    "LAUNCHER": "n1-standard-4",
}
OPTIONS = [
    "--carry",
    "speaker,text",
    "--overwrite",
    "--batch_size=8",
    "--flexrs_goal=COST_OPTIMIZED",
    "--num_workers",
    "3",
]
STEPS = [
    ["setup"],
    ["image"],
    ["template"],
    ["run", "gs://b/in", "gs://b/out", *OPTIONS],
    ["run-template", "gs://b/in", "gs://b/out", *OPTIONS],
    ["watch"],
    ["watch", "2026-11-27_00_00_00-1"],
    ["cancel", "2026-11-27_00_00_00-1"],
    ["clean"],
]


def flags(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: " ".join(step[:2]))
def test_gcloud_knows_the_commands_and_their_flags(step: list[str], profile: str) -> None:
    for settings in ({}, FULL):
        for words in printed_by(*step, PROFILE=profile, **settings):
            if words[0] != "gcloud":
                assert words[0] == "audiosieve"
                continue
            command = max(
                (known for known in FLAGS if words[1:][: len(known.split())] == known.split()), key=len, default=None
            )
            assert command, f"no command of gcloud: {words}"
            assert set(flags(words)) <= set(FLAGS[command]), command


def test_the_table_of_flags_equals_that_of_the_installed_gcloud() -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    version, found = table()
    if version not in json.loads(TARGET.read_text())["source"]:
        pytest.skip(f"another version of gcloud is installed: {version}")
    assert found == FLAGS


@pytest.mark.parametrize("profile", PROFILES)
def test_beam_and_audiosieve_know_the_options(profile: str) -> None:
    for settings in ({}, FULL):
        (words,) = printed_by("run", "gs://b/in", "gs://b/out", *OPTIONS, PROFILE=profile, **settings)
        assert words[:2] == ["audiosieve", "score"]
        options, beam = parse(words[2:])
        assert (options.input, options.output, options.carry, options.overwrite) == (
            "gs://b/in",
            "gs://b/out",
            ("speaker", "text"),
            True,
        )
        assert options.batch_size == 8
        cloud = PipelineOptions(beam).view_as(GoogleCloudOptions)
        assert (cloud.project, cloud.region) == (SETTINGS["PROJECT"], SETTINGS["REGION"])
        assert cloud.flexrs_goal == "COST_OPTIMIZED"
        assert cloud.labels == ['{"app": "audiosieve"}']
        workers = PipelineOptions(beam).view_as(WorkerOptions)
        assert (workers.use_public_ips, workers.subnetwork) == (
            (False, FULL["SUBNETWORK"]) if settings else (None, None)
        )
        assert workers.num_workers == 3


@pytest.mark.parametrize("profile", PROFILES)
def test_the_template_gets_the_options_of_the_direct_run(profile: str) -> None:
    (direct,) = printed_by("run", "gs://b/in", "gs://b/out", *OPTIONS, PROFILE=profile, **FULL)
    (template,) = printed_by("run-template", "gs://b/in", "gs://b/out", *OPTIONS, PROFILE=profile, **FULL)
    parameters = [word.removeprefix("--parameters=^;;^") for word in template if word.startswith("--parameters=")]
    assert all(";;" not in parameter for parameter in parameters)
    given = dict(parameter.split("=", 1) for parameter in parameters)
    assert len(given) == len(parameters)
    given |= {
        ours: value
        for flag, ours in {
            "--worker-machine-type": "machine_type",
            "--max-workers": "max_num_workers",
            "--num-workers": "num_workers",
            "--flexrs-goal": "flexrs_goal",
            "--region": "region",
            "--project": "project",
            "--temp-location": "temp_location",
            "--staging-location": "staging_location",
            "--service-account-email": "service_account_email",
            "--subnetwork": "subnetwork",
            "--worker-zone": "worker_zone",
        }.items()
        for name, value in [word.split("=", 1) for word in template if word.startswith(f"{flag}=")]
        if name == flag
    }
    words = []
    for word in direct[2:]:
        if word.startswith("--"):
            words.append(word if "=" in word else f"{word}=true")
        else:
            words[-1] = words[-1].removesuffix("=true") + f"={word}"
    asked = dict(word.removeprefix("--").split("=", 1) for word in words)
    # gcloud sets the runner itself, takes the job's name as an argument, and has other flags for labels and addresses.
    for name in ("runner", "job_name", "labels", "no_use_public_ips"):
        del asked[name]
    assert given == asked
    assert {"--disable-public-ips", "--additional-user-labels=app=audiosieve"} <= set(template)


@pytest.mark.parametrize("profile", PROFILES)
def test_one_process_per_core_with_one_thread_and_disk_for_long_recordings(profile: str) -> None:
    (words,) = printed_by("run", "gs://b/in", "gs://b/out", PROFILE=profile)
    _, beam = parse(words[2:])
    debug, workers = (PipelineOptions(beam).view_as(group) for group in (DebugOptions, WorkerOptions))
    assert debug.number_of_worker_harness_threads == 1
    assert not debug.experiments, "an experiment may keep Dataflow from starting one SDK process per core"
    cores = int(workers.machine_type.rpartition("-")[2])
    # The image, and for each process the longest recording allowed: 24 h at 230 MB per hour.
    assert workers.disk_size_gb >= 25 + cores * 24 * 0.23
    assert workers.autoscaling_algorithm == "THROUGHPUT_BASED"
    gpu = "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver;use_nvidia_mps"
    service = PipelineOptions(beam).view_as(GoogleCloudOptions).dataflow_service_options
    assert service == ([gpu] if profile.startswith("gpu") else None)
    assert f"/audiosieve-{'gpu' if profile.startswith('gpu') else 'cpu'}:" in next(
        w for w in words if "container_image" in w
    )


@pytest.mark.parametrize(("profile", "target"), [("cpu-large", "cpu"), ("gpu-l4", "gpu")])
def test_jobs_of_a_profile_use_its_image_and_template(profile: str, target: str) -> None:
    (run,) = printed_by("run", "gs://b/in", "gs://b/out", PROFILE=profile)
    image = next(word for word in run if word.startswith("--sdk_container_image=")).partition("=")[2]
    assert image.endswith(f"/audiosieve-{target}:{SETTINGS['TAG']}")
    (submit,) = printed_by("image", PROFILE=profile)
    assert f"--substitutions=_IMAGE={image},_TARGET={target}" in submit
    build, push = printed_by("image", "--docker", PROFILE=profile)
    assert {f"--target={target}", f"--tag={image}", f"--file={ROOT}/dataflow/Dockerfile"} < set(build)
    assert build[-1] == str(ROOT)
    assert push == ["docker", "push", image]
    (template,) = printed_by("template", PROFILE=profile)
    assert {f"--image={image}", f"--metadata-file={ROOT}/dataflow/template_metadata.json"} < set(template)
    (run_template,) = printed_by("run-template", "gs://b/in", "gs://b/out", PROFILE=profile)
    assert f"--template-file-gcs-location={template[4]}" in run_template
    assert f"/{target}-" in template[4]


def test_the_last_value_of_a_repeated_option_wins_and_lists_are_joined() -> None:
    """In the profile and on the command line, for example. gcloud refuses a repeated parameter."""
    twice = [
        *("--disk_size_gb", "99"),
        "--max_num_workers=3",
        "--experiments=a",
        "--experiments=b",
        "--dataflow_service_options=enable_prime",
    ]
    (run,) = printed_by("run", "gs://b/in", "gs://b/out", *twice, PROFILE="gpu-l4")
    options = PipelineOptions(parse(run[2:])[1])
    (words,) = printed_by("run-template", "gs://b/in", "gs://b/out", *twice, PROFILE="gpu-l4")
    given = [word.removeprefix("--parameters=^;;^").removeprefix("--").split("=", 1) for word in words if "=" in word]
    found = dict(given)
    assert len(found) == len(given)
    assert found["disk_size_gb"] == str(options.view_as(WorkerOptions).disk_size_gb) == "99"
    assert found["max-workers"] == str(options.view_as(WorkerOptions).max_num_workers) == "3"
    assert found["additional-experiments"].split(",") == options.view_as(DebugOptions).experiments == ["a", "b"]
    service = options.view_as(GoogleCloudOptions).dataflow_service_options
    assert found["dataflow_service_options"].split(",") == service
    assert len(service) == 2


def test_the_launcher_gets_its_machine_type_and_the_job_all_labels() -> None:
    settings = {"LAUNCHER": "n1-standard-4", "LABELS": "app=audiosieve,team=speech"}
    (template,) = printed_by("run-template", "gs://b/in", "gs://b/out", **settings)
    assert {"--launcher-machine-type=n1-standard-4", "--additional-user-labels=app=audiosieve,team=speech"} < set(
        template
    )
    (run,) = printed_by("run", "gs://b/in", "gs://b/out", **settings)
    assert '--labels={"app": "audiosieve", "team": "speech"}' in run


def test_print_runs_nothing_and_its_output_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    """Uses programs in place of the real ones that record their arguments."""
    for name in ("gcloud", "docker", "audiosieve"):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho ran >>{tmp_path}/ran\nfor word; do printf "[%s]" "$word" >>{tmp_path}/words; done\n'
        )
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **SETTINGS, "LABELS": "team=it's ours"}
    # Called by its path, as in the documentation.
    command = [str(CLOUD), "run", "gs://b/a dir/*.wav", "gs://b/out", "--carry=a,b"]
    printed = subprocess.run([*command, "--print"], env=environment, capture_output=True, text=True, check=True).stdout
    assert not (tmp_path / "ran").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    time = re.compile(r"audiosieve-\d{8}-\d{6}")
    assert time.sub("", done.stdout) == time.sub("", printed)
    subprocess.run(["bash", "-c", printed], env=environment, check=True)
    assert (tmp_path / "ran").read_text() == "ran\nran\n"
    first, second = (tmp_path / "words").read_text().split("[score]")[1:]
    assert time.sub("", first) == time.sub("", second)
    assert "[--input=gs://b/a dir/*.wav]" in first
    assert "it's ours" in first


def _setup_with(tmp_path: Path, existing: str, **settings: str) -> list[str]:
    """Runs the step `setup` with a gcloud that knows some resources; returns the commands that change something."""
    program = tmp_path / "gcloud"
    program.write_text(
        f"""#!/bin/sh
        case "$*" in
        "projects describe"*) echo 123456789 ;;
        *get-default-service-account*) echo projects/p/serviceAccounts/123456789-compute@developer.gserviceaccount.com ;;
        *" describe "*) case "{existing}" in *"$2"*) echo found ;; *) exit 1 ;; esac ;;
        *) echo "$@" >>{tmp_path}/ran ;;
        esac
        """
    )
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **SETTINGS, **settings}
    subprocess.run(["bash", CLOUD, "setup"], env=environment, capture_output=True, text=True, check=True)
    return (tmp_path / "ran").read_text().splitlines()


@pytest.mark.parametrize("workers", ["", "a@b.iam.gserviceaccount.com"])
def test_setup_grants_what_new_organizations_do_not(tmp_path: Path, workers: str) -> None:
    ran = _setup_with(tmp_path, "", SERVICE_ACCOUNT=workers)
    default = "123456789-compute@developer.gserviceaccount.com"
    granted = {
        (member[1], role[1])
        for line in ran
        if (role := re.search("--role=roles/(\\S+)", line))
        and (member := re.search("--member=serviceAccount:(\\S+)", line))
    }
    assert granted == {
        (default, "cloudbuild.builds.builder"),
        *(
            (workers or default, role)
            for role in ("dataflow.worker", "dataflow.viewer", "artifactregistry.reader", "storage.objectAdmin")
        ),
    }


def test_setup_can_be_run_again(tmp_path: Path) -> None:
    first = _setup_with(tmp_path, "")
    (tmp_path / "ran").unlink()
    again = _setup_with(tmp_path, "buckets repositories")
    assert [line for line in first if " create " in line]
    assert again == [line for line in first if " create " not in line]


def test_the_tag_of_the_launcher_can_be_set() -> None:
    (submit,) = printed_by("image", LAUNCHER_TAG="20260122_RC00")
    assert any(word.endswith(",_TARGET=cpu,_LAUNCHER_TAG=20260122_RC00") for word in submit)
    build, _ = printed_by("image", "--docker", LAUNCHER_TAG="20260122_RC00")
    assert "--build-arg=LAUNCHER_TAG=20260122_RC00" in build


def test_clean_keeps_the_files_of_active_jobs(tmp_path: Path) -> None:
    (words,) = printed_by("run", "gs://b/in", "gs://b/out")
    run = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    for listed, status in (("", 0), ("2026-11-27_1", 2)):
        program = tmp_path / "gcloud"
        program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/ran\n[ "$1" = storage ] || echo "{listed}"\n')
        program.chmod(0o755)
        done = subprocess.run(
            ["bash", CLOUD, "clean"],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", **SETTINGS},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status
        assert ("jobs are active" in done.stderr) == bool(listed)
        asked, *removed = (tmp_path / "ran").read_text().splitlines()
        assert f"--region={SETTINGS['REGION']}" in asked
        assert len(removed) == (not listed)
        for place in ("temp_location", "staging_location"):
            assert listed or run[place] in removed[0].split()
        (tmp_path / "ran").unlink()


@pytest.mark.parametrize(
    ("arguments", "settings", "sentence"),
    [
        (["lunch"], {}, "unknown step lunch"),
        (["run", "gs://b/in"], {}, "run needs INPUT and OUTPUT"),
        (
            ["run", "gs://b/in", "gs://b/out"],
            {"PROFILE": "tpu"},
            "unknown profile tpu; choose one of cpu-large cpu-small gpu-l4",
        ),
        (["run", "gs://b/in", "gs://b/out"], {"REGION": ""}, "REGION is not set"),
        (["cancel"], {}, "cancel needs the id of a job"),
        (["image", "--dokcer"], {}, "image accepts only --docker, not --dokcer"),
    ],
)
def test_errors_are_one_sentence(arguments: list[str], settings: dict[str, str], sentence: str) -> None:
    done = subprocess.run(
        ["bash", CLOUD, *arguments, "--print"],
        env={"PATH": "/usr/bin:/bin", **SETTINGS, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
    assert not done.stdout


def test_the_help_names_every_step_setting_and_profile() -> None:
    text = subprocess.run(["bash", CLOUD, "--help"], capture_output=True, text=True, check=True).stdout
    script = CLOUD.read_text()
    for step in {step[0] for step in STEPS}:
        assert f"  {step} " in text
    for name in [*re.findall(r"^([A-Z_]+)=\$\{", script, re.MULTILINE), *SETTINGS, *PROFILES]:
        assert name in text


def test_shellcheck_finds_nothing() -> None:
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([program, CLOUD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
