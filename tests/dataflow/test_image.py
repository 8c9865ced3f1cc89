"""Tests of dataflow/Dockerfile: its content, and its steps run without Docker."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import soundfile
import yaml
from tensorflow.python.platform import build_info

from model.bundle import DEFAULT
from pipelines.score import build_parser
from tests.support.deployment.dockerfile import ROOT, Emulation, context, copied, environment, lineage, stages


def pins(lock: str) -> dict[str, str]:
    """Returns the versions by package; the last one if a package has several for different systems."""
    lines = (ROOT / lock).read_text().splitlines()
    return {
        line.split("==")[0]: re.split(r"[ ;]", line.split("==")[1])[0]
        for line in lines
        if "==" in line[:60] and line[0] != " "
    }


def test_beam_and_python_are_those_of_the_locks() -> None:
    images = {name: stage.image for name, stage in stages().items()}
    beam = pins("requirements-gcp.lock")["apache-beam"]
    python = re.search(r"--python-version ([\d.]+)", (ROOT / "Makefile").read_text())
    assert python
    assert images["beam"] == f"apache/beam_python{python[1]}_sdk:{beam}"
    assert images["base"] == images["wheel"] == f"python:{python[1]}-slim-bookworm"
    assert f"/python{python[1].replace('.', '')}-template-launcher-base:" in images["launcher"]
    assert images["cpu"] == images["gpu"] == "base"
    assert list(images)[-1] == "cpu"


def test_the_launcher_is_the_release_that_google_recommends() -> None:
    """The documented recommendation is the tag `latest`; Cloud Build has the same default."""
    assert stages()["launcher"].image.endswith(":latest")
    build = yaml.safe_load((ROOT / "dataflow/cloudbuild.yaml").read_text())
    assert build["substitutions"]["_LAUNCHER_TAG"] == "latest"
    (step,) = build["steps"]
    assert "--build-arg=LAUNCHER_TAG=${_LAUNCHER_TAG}" in step["args"]


def test_the_locks_of_the_image_extend_the_others() -> None:
    base, gcp, gpu = (pins(f"requirements{name}.lock") for name in ("", "-gcp", "-gpu"))
    assert base.items() <= gcp.items()
    assert base.items() <= gpu.items()
    assert {name: pin for name, pin in gpu.items() if name in gcp} == {name: gcp[name] for name in gpu if name in gcp}
    assert "google-cloud-storage" in gcp
    assert pins("requirements-dev.lock")["google-cloud-storage"] == gcp["google-cloud-storage"]


@pytest.mark.parametrize("target", ["wheel", "cpu", "gpu"])
def test_every_copied_file_exists(target: str) -> None:
    there = context()
    for stage, sources, _ in copied(target):
        if stage is None:
            for source in sources:
                assert any(name == source or name.startswith(f"{source}/") for name in there), source
        else:
            assert stage in stages()


def test_the_build_context_holds_the_files_of_the_package_only() -> None:
    there = context()
    assert {"setup.py", "README.md", "audiosieve.py", "dataflow/launch.py"} <= there
    assert f"model/bundles/{DEFAULT}/model.weights.h5" in there
    copied_names = [
        name for target in ("wheel", "cpu", "gpu") for stage, names, _ in copied(target) if not stage for name in names
    ]
    for name in there:
        assert any(name == source or name.startswith(f"{source}/") for source in copied_names), (
            f"{name} is never copied"
        )


def test_no_step_compiles_and_pip_checks_the_result() -> None:
    for target in ("cpu", "gpu"):
        commands = [value for instruction, value in lineage(target) if instruction == "RUN"]
        assert not any(re.search(r"apt-get|gcc|build-essential", command) for command in commands)
        assert any("pip check" in command for command in commands)
        assert "pip check" in commands[-1]


def test_the_image_is_both_the_beam_container_and_the_template_launcher() -> None:
    for target in ("cpu", "gpu"):
        assert ("ENTRYPOINT", '["/opt/apache/beam/boot"]') in lineage(target)
        assert ("beam", ["/opt/apache/beam"], "/opt/apache/beam") in copied(target)
        launcher = "/opt/google/dataflow/python_template_launcher"
        assert ("launcher", [launcher], launcher) in copied(target)
        assert environment(target)["FLEX_TEMPLATE_PYTHON_PY_FILE"] == "/template/launch.py"
        assert (None, ["dataflow/launch.py"], "./") in copied(target)


def test_the_thread_limits_equal_the_default_of_the_command() -> None:
    threads = str(build_parser().get_default("threads"))
    for target in ("cpu", "gpu"):
        found = environment(target)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            assert found[name] == threads == "1"


def test_processes_share_the_gpu_and_its_libraries_match_tensorflow() -> None:
    assert environment("gpu")["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert environment("gpu")["NVIDIA_TF32_OVERRIDE"] == "0"
    assert environment("gpu")["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64"
    found = pins("requirements-gpu.lock")
    cuda, cudnn = build_info.build_info["cuda_version"], build_info.build_info["cudnn_version"]
    assert found["nvidia-cuda-runtime-cu12"].split(".")[0] == cuda.split(".")[0] == "12"
    assert found["nvidia-cuda-runtime-cu12"].split(".")[:2] >= cuda.split(".")[:2]
    assert found["nvidia-cudnn-cu12"].split(".")[0] == cudnn.split(".")[0]


def test_libsndfile_is_in_the_wheel() -> None:
    assert "_soundfile_data" in soundfile._full_path
    assert Path(soundfile._full_path).is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image has Python 3.11")
@pytest.mark.skipif(
    "AUDIOSIEVE_IMAGE" not in os.environ, reason="installs all packages again; set AUDIOSIEVE_IMAGE to run it"
)
def test_the_steps_of_the_image_make_a_command_that_scores(samples: Path, tmp_path: Path) -> None:
    emulation = Emulation(tmp_path)
    emulation.build("cpu")
    emulation.run(f"audiosieve score --input {samples} --output {tmp_path}/scores", variables=environment("cpu"))
    output = emulation.run(f"audiosieve query {tmp_path}/scores 'SELECT count(*) AS n FROM utterances' --format json")
    assert '"n": 8' in output.replace('":8', '": 8')
    emulation.run(f"python {tmp_path}/template/launch.py --help")
    assert not (tmp_path / "template" / "pipelines").exists()
