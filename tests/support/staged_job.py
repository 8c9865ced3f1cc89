"""Jobs for Dataflow, staged into a Cloud Storage on this machine as they would be for the service, and read back."""

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
from tests.support.gcs_emulator import Bucket
from tests.support.paths import ROOT

CLOUD = ROOT / "dataflow" / "cloud.sh"
SHUFFLES = {
    common_urns.primitives.GROUP_BY_KEY.urn,
    common_urns.composites.RESHUFFLE.urn,
    common_urns.composites.COMBINE_PER_KEY.urn,
}
# Folders of the machine that launched a job, which no worker has.
LOCAL = [str(ROOT), sys.prefix, tempfile.gettempdir(), str(Path.home())]
_ENCODED = re.compile(rb"[A-Za-z0-9+/\n]{64,}={0,2}")
_REMOTE = re.compile(rb"(gs://|storage\.googleapis\.com/)[\w./+-]*")
# Whatever stands before it: in a pickle that is the path's length, which may look like a letter.
_PATH = re.compile(b"(" + b"|".join(re.escape(folder.encode()) for folder in LOCAL) + rb")[\w./+-]*")


@dataclasses.dataclass
class Job:
    """A staged job.

    Attributes:
        description: of the job, as the service gets it.
        pipeline: its graph.
        printed: by the command that staged it, on stdout.
        template: where the description is.
    """

    description: dict[str, Any]
    pipeline: beam_runner_api_pb2.Pipeline
    printed: str = ""
    template: str = ""

    @property
    def environment(self) -> dict[str, Any]:
        """Of the job: experiments, service options, worker pools."""
        found: dict[str, Any] = self.description["environment"]
        return found

    @property
    def workers(self) -> dict[str, Any]:
        """The only pool of workers."""
        (pool,) = self.environment["workerPools"]
        return dict(pool)

    @property
    def options(self) -> dict[str, Any]:
        """Beam's options, as workers will see them."""
        found: dict[str, Any] = self.environment["sdkPipelineOptions"]["options"]
        return found

    def leaves(self) -> dict[str, beam_runner_api_pb2.PTransform]:
        """The steps that do something, by their ids."""
        transforms = self.pipeline.components.transforms
        return {name: found for name, found in transforms.items() if found.spec.urn and not found.subtransforms}

    def between(self, first: str, last: str) -> dict[str, beam_runner_api_pb2.PTransform]:
        """All leaves on a way from a step to another, those of the two steps among them; by their ids."""
        both = self._reached(first, "inputs", "outputs") & self._reached(last, "outputs", "inputs")
        return {name: found for name, found in self.leaves().items() if name in both}

    def before(self, step: str) -> dict[str, beam_runner_api_pb2.PTransform]:
        """All leaves whose output may get into a step, its own among them; by their ids."""
        reached = self._reached(step, "outputs", "inputs")
        return {name: found for name, found in self.leaves().items() if name in reached}

    def _reached(self, step: str, enter: str, leave: str) -> set[str]:
        """Ids of the leaves of a step, and of all that what they let out leads to; backwards with the two exchanged."""
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
        """Names of the steps that shuffle."""
        return {found.unique_name for found in self.leaves().values() if found.spec.urn in SHUFFLES}

    def local_paths(self) -> set[str]:
        """Paths of the launcher's folders that stand anywhere in the job.

        Left out are the names of Python files, which pickled functions have in them for tracebacks.
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
    """Bytes, and what Beam's pickles within them say once they are unpacked."""
    yield text
    for match in _ENCODED.finditer(text):
        # What stands before a pickle may look like a part of it.
        for start in range(min(4, len(match.group()))):
            part = match.group()[start:]
            for unpack in (bz2.decompress, zlib.decompress):
                try:
                    yield unpack(base64.b64decode(part[: len(part) - len(part) % 4]))
                except (binascii.Error, OSError, ValueError, zlib.error, EOFError):
                    continue


def printed_by(*arguments: object, **settings: str) -> list[list[str]]:
    """The commands that `dataflow/cloud.sh --print` prints, as words."""
    done = subprocess.run(
        ["bash", CLOUD, *map(str, arguments), "--print"],
        env={"PATH": "/usr/bin:/bin", **SETTINGS, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


# Of a user who set what must be set, and nothing else.
SETTINGS = {"PROJECT": "some-project", "REGION": "europe-west4", "BUCKET": "some-bucket", "TAG": "1"}


def stage(bucket: Bucket, *arguments: object, **settings: str) -> Job:
    """Stages what `dataflow/cloud.sh run` would start, into a bucket on this machine.

    Args:
        bucket: with what is to be scored; all that is staged goes there too.
        arguments: of `cloud.sh run`: input, output and further options.
        settings: of `cloud.sh`, beside those that must be set.
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
    """Runs a staged graph to its end as a worker would: with the package in another place, and no file of the launcher's.

    The graph is what was staged; only the container that runs it becomes the Python of a new process.

    Args:
        job: what was staged.
        folder: empty; where the process has the package.
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
    (folder / "run.py").write_text(_RUN)
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
