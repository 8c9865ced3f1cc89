"""Stages jobs for Dataflow in an emulated Cloud Storage, as for the service, and reads them back."""

from __future__ import annotations

import base64
import binascii
import bz2
import dataclasses
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2

from tests.support.command import audiosieve
from tests.support.paths import ROOT
from tests.support.storage.gcs_emulator import Bucket

CLOUD = ROOT / "dataflow" / "cloud.sh"
SHUFFLES = {
    common_urns.primitives.GROUP_BY_KEY.urn,
    common_urns.composites.RESHUFFLE.urn,
    common_urns.composites.COMBINE_PER_KEY.urn,
}
# Folders of the launching machine, which workers do not have.
LOCAL = [str(ROOT), sys.prefix, tempfile.gettempdir(), str(Path.home())]
_ENCODED = re.compile(rb"[A-Za-z0-9+/\n]{64,}={0,2}")
_REMOTE = re.compile(rb"(gs://|storage\.googleapis\.com/)[\w./+-]*")
# No condition on the byte before a path: in a pickle it is the path's length, which may look like a letter.
_PATH = re.compile(b"(" + b"|".join(re.escape(folder.encode()) for folder in LOCAL) + rb")[\w./+-]*")


@dataclasses.dataclass
class Job:
    """A staged job.

    Attributes:
        description: job description for the service.
        pipeline: graph of the job.
        printed: stdout of the command that staged it.
        template: uri of the description.
    """

    description: dict[str, Any]
    pipeline: beam_runner_api_pb2.Pipeline
    printed: str = ""
    template: str = ""

    @property
    def environment(self) -> dict[str, Any]:
        """Environment of the job: experiments, service options, worker pools."""
        found: dict[str, Any] = self.description["environment"]
        return found

    @property
    def workers(self) -> dict[str, Any]:
        """The only pool of workers."""
        (pool,) = self.environment["workerPools"]
        return dict(pool)

    @property
    def options(self) -> dict[str, Any]:
        """Beam's options as workers get them."""
        found: dict[str, Any] = self.environment["sdkPipelineOptions"]["options"]
        return found

    def leaves(self) -> dict[str, beam_runner_api_pb2.PTransform]:
        """Returns the steps without substeps, by their ids."""
        transforms = self.pipeline.components.transforms
        return {name: found for name, found in transforms.items() if found.spec.urn and not found.subtransforms}

    def between(self, first: str, last: str) -> dict[str, beam_runner_api_pb2.PTransform]:
        """Returns the leaves on a path from one step to another, including those of both steps, by their ids."""
        both = self._reached(first, "inputs", "outputs") & self._reached(last, "outputs", "inputs")
        return {name: found for name, found in self.leaves().items() if name in both}

    def before(self, step: str) -> dict[str, beam_runner_api_pb2.PTransform]:
        """Returns the leaves whose output can reach a step, including its own, by their ids."""
        reached = self._reached(step, "outputs", "inputs")
        return {name: found for name, found in self.leaves().items() if name in reached}

    def _reached(self, step: str, enter: str, leave: str) -> set[str]:
        """Returns the ids of a step's leaves and of all leaves downstream; upstream if the two names are exchanged."""
        leaves = self.leaves()
        found = {name for name, leaf in leaves.items() if re.search(rf"(^|/){re.escape(step)}(/|$)", leaf.unique_name)}
        assert found, f"no step {step}"
        fresh = found
        while fresh:
            out = {pcoll for name in fresh for pcoll in getattr(leaves[name], leave).values()}
            fresh = {name for name, leaf in leaves.items() if out & set(getattr(leaf, enter).values())} - found
            found = found | fresh
        return found

    def shuffles(self) -> set[str]:
        """Returns the names of the steps that shuffle."""
        return {found.unique_name for found in self.leaves().values() if found.spec.urn in SHUFFLES}

    def local_paths(self) -> set[str]:
        """Returns the paths in the launcher's folders that occur anywhere in the job.

        Names of Python files are left out: pickled functions hold them for tracebacks.
        """
        found = set()
        for text in (self.pipeline.SerializeToString(), json.dumps(self.description).encode()):
            for layer in _layers(text):
                for match in _PATH.finditer(_REMOTE.sub(b"", layer)):
                    path = match.group().decode()
                    if not re.search(r"\.py\b", path):
                        found.add(path)
        return found


def _layers(text: bytes) -> Iterator[bytes]:
    """Yields the given bytes, and the decompressed content of Beam's pickles in them."""
    yield text
    for match in _ENCODED.finditer(text):
        # The bytes before a pickle may look like part of it.
        for start in range(min(4, len(match.group()))):
            part = match.group()[start:]
            for unpack in (bz2.decompress, zlib.decompress):
                try:
                    yield unpack(base64.b64decode(part[: len(part) - len(part) % 4]))
                except (binascii.Error, OSError, ValueError, zlib.error, EOFError):
                    continue


def printed_by(*arguments: object, **settings: str) -> list[list[str]]:
    """Returns the commands that `dataflow/cloud.sh --print` prints, split into words."""
    done = subprocess.run(
        ["bash", CLOUD, *map(str, arguments), "--print"],
        env={"PATH": "/usr/bin:/bin", **SETTINGS, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


# The required settings only.
SETTINGS = {"PROJECT": "some-project", "REGION": "europe-west4", "BUCKET": "some-bucket", "TAG": "1"}


def stage(bucket: Bucket, *arguments: object, **settings: str) -> Job:
    """Stages the job of `dataflow/cloud.sh run` in an emulated bucket.

    Args:
        bucket: bucket with the corpus; the staged files go there too.
        arguments: arguments of `cloud.sh run`: input, output and further options.
        settings: settings of `cloud.sh` in addition to the required ones.
    """
    (command,) = printed_by("run", *arguments, **{"BUCKET": bucket.uri.removeprefix("gs://"), **settings})
    assert command[0] == "audiosieve"
    before = set(bucket.names())
    template = f"templates/{secrets.token_hex(4)}.json"
    done = audiosieve(*command[1:], f"--template_location={bucket / template}")
    (graph,) = (name for name in set(bucket.names()) - before if name.endswith("/pipeline.pb"))
    pipeline = beam_runner_api_pb2.Pipeline.FromString(bucket.read(graph))
    return Job(json.loads(bucket.read(template)), pipeline, done.stdout, bucket / template)


def run_elsewhere(job: Job, folder: Path) -> None:
    """Runs a staged graph as a worker would: with the package in another folder, and without the launcher's files.

    The graph is the staged one, except that a new Python process replaces the container.

    Args:
        job: staged job.
        folder: empty folder for the copy of the package.
    """
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.CopyFrom(job.pipeline)
    for environment in pipeline.components.environments.values():
        assert environment.urn == common_urns.environments.DOCKER.urn
        environment.urn = python_urns.EMBEDDED_PYTHON
        environment.payload = b""
        del environment.dependencies[:]
    for package in ("model", "transforms", "pipelines"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pipeline.pb").write_bytes(pipeline.SerializeToString())
    (folder / "run.py").write_text(_RUN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "run.py", *(name for name in job.options["beam_plugins"] if name.startswith("transforms."))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


_RUN = """
import importlib
import sys
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

for plugin in sys.argv[1:]:
    assert Path(importlib.import_module(plugin).__file__).is_relative_to(Path.cwd())
pipeline = beam_runner_api_pb2.Pipeline.FromString(Path("pipeline.pb").read_bytes())
FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()
"""
