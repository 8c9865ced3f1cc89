"""Tests of the Flex Template: its parameters are the command's options, and its launcher starts the command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflow import template_metadata
from dataflow.launch import with_flags
from model.bundle import DEFAULT
from pipelines.score import build_parser, parse
from tests.support.deployment.staged_job import ROOT, printed_by

METADATA: dict[str, Any] = json.loads(template_metadata.TARGET.read_text())
PARAMETERS = {parameter["name"]: parameter for parameter in METADATA["parameters"]}
# Valid values of each parameter.
GOOD = {
    "input": [
        "gs://corpus/speech",
        "gs://corpus/*/*.wav",
        "gs://corpus/lists/manifest.jsonl.gz",
        "gs://corpus/a b/ü.tar",
    ],
    "output": ["gs://corpus/scores"],
    "model": [DEFAULT, "quality_net_v1", "gs://models/my_model"],
    "channels": ["auto", "mix", "first", "each", "0", "11"],
    "carry": ["", "speaker", "speaker,text"],
    "audio_root": ["gs://corpus/speech"],
    "columns": ["", "path=clip,start=begin_ms"],
    "strict": ["true", "false"],
    "overwrite": ["true", "false"],
    "prune": ["true", "false"],
    "batch_size": ["1", "64"],
    "batch_frames": ["4096"],
    "listing": ["launcher", "workers"],
    "forget": ["20261127T182136Z-0a1b2c"],
    "threads": ["1"],
    "sdk_container_image": [
        "europe-west4-docker.pkg.dev/some-project/audiosieve/audiosieve-cpu:1",
        f"gcr.io/p/i@sha256:{'0' * 64}",
    ],
    "sdk_location": ["container"],
    "disk_size_gb": ["50"],
    "autoscaling_algorithm": ["NONE", "THROUGHPUT_BASED"],
    "number_of_worker_harness_threads": ["1"],
    "dataflow_service_options": ["worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver;use_nvidia_mps"],
}
BAD = {
    "input": ["/data/speech", "corpus", "gs://"],
    "output": ["scores", "s3://corpus/scores"],
    "model": ["/models/mine", "a model"],
    "channels": ["left", "-1", "mix,first"],
    "audio_root": ["/data/speech"],
    "strict": ["yes", ""],
    "overwrite": ["yes", ""],
    "prune": ["yes", ""],
    "batch_size": ["0", "-1", "1.5"],
    "batch_frames": ["0"],
    "listing": ["nobody"],
    "forget": ["20261127"],
    "threads": ["0"],
    "sdk_container_image": ["audiosieve", "a/b:"],
    "sdk_location": ["/opt/sdk.tar.gz"],
    "disk_size_gb": ["50GB"],
    "autoscaling_algorithm": ["BASIC"],
    "number_of_worker_harness_threads": ["0"],
}


def fits(name: str, value: str) -> bool:
    return all(re.fullmatch(regex, value) for regex in PARAMETERS[name]["regexes"])


def test_the_file_is_up_to_date() -> None:
    assert template_metadata.metadata() == METADATA, "run: python dataflow/template_metadata.py"


def test_every_option_of_the_command_is_a_parameter_or_left_out_on_purpose() -> None:
    options = {action.option_strings[-1].removeprefix("--"): action for action in build_parser()._actions}
    assert set(options) == set(template_metadata.SCORE) | template_metadata.LEFT_OUT
    for name in template_metadata.SCORE:
        parameter, action = PARAMETERS[name], options[name]
        assert parameter["helpText"].startswith(action.help)
        assert parameter["isOptional"] == (name not in ("input", "output"))
        assert not (action.required and parameter["isOptional"])
        if action.default not in (None, "", False):
            assert f"(default: {action.default})" in parameter["helpText"]
            assert fits(name, str(action.default))


def test_the_command_knows_every_parameter() -> None:
    for name, values in GOOD.items():
        for value in values:
            given = {"input": "gs://b/in", "output": "gs://b/out"} | {name: value}
            options, beam = parse(with_flags([f"--{key}={word}" for key, word in given.items()]))
            assert hasattr(options, name) or any(word.startswith(f"--{name}=") for word in beam)


def test_the_patterns_accept_only_valid_values() -> None:
    assert set(GOOD) == set(PARAMETERS)
    for name, values in GOOD.items():
        assert all(fits(name, value) for value in values), name
    for name, values in BAD.items():
        assert not any(fits(name, value) for value in values), name


@pytest.mark.parametrize("profile", ["cpu-small", "cpu-large", "gpu-l4"])
def test_the_patterns_accept_the_parameters_of_the_script(profile: str) -> None:
    (words,) = printed_by("run-template", "gs://b/in", "gs://b/out", "--overwrite", "--carry=a,b", PROFILE=profile)
    given = [word.partition("^;;^")[2].split("=", 1) for word in words if word.startswith("--parameters=")]
    assert len(given) >= 8
    for name, value in given:
        assert fits(name, value), (name, value)


def test_the_launcher_converts_values_to_flags() -> None:
    assert with_flags(["--overwrite=true", "--dry_run=false", "--carry=true_speaker", "--input=gs://b/clean=true"]) == [
        "--overwrite",
        "--carry=true_speaker",
        "--input=gs://b/clean=true",
    ]


def test_gcloud_accepts_the_metadata() -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    (words,) = printed_by("template")
    done = subprocess.run([*words, "--print-only", "--format=json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads(json.loads(done.stdout))  # the content to upload is a string
    assert content["image"] == next(word for word in words if word.startswith("--image=")).removeprefix("--image=")
    assert content["sdkInfo"] == {"language": "PYTHON"}
    assert [parameter["name"] for parameter in content["metadata"]["parameters"]] == list(PARAMETERS)


def test_the_launcher_starts_the_command(tmp_path: Path) -> None:
    """Runs in another folder, as in the image."""
    command = [
        sys.executable,
        ROOT / "dataflow" / "launch.py",
        "--input=gs://b/in",
        "--overwrite=true",
        "--batch_size=0",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "audiosieve score: --batch_size is 0; must be at least 1\n"
