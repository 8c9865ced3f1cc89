"""Jobs for Dataflow, staged into a Cloud Storage on this machine as they would be for the service, and read back."""

from __future__ import annotations

import base64
import binascii
import bz2
import dataclasses
import json
import re
import shlex
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tests.emulator import Bucket
from tests.pipelines.conftest import audiosieve

ROOT = Path(__file__).parent.parent.parent
CLOUD = ROOT / "dataflow" / "cloud.sh"
SHUFFLES = {
    common_urns.primitives.GROUP_BY_KEY.urn,
    common_urns.composites.RESHUFFLE.urn,
    common_urns.composites.COMBINE_PER_KEY.urn,
}
# Folders of the machine that launched a job, which no worker has.
LOCAL = [str(ROOT), sys.prefix, tempfile.gettempdir(), str(Path.home()), "/tmp/", "/work/", "/home/", "/root/"]
_ENCODED = re.compile(rb"[A-Za-z0-9+/\n]{64,}={0,2}")
_PATH = re.compile(rb"(?<![\w:/.-])/(?:[\w.+-]+/)+[\w.+-]*")


@dataclasses.dataclass
class Job:
    """A staged job.

    Attributes:
        description: of the job, as the service gets it.
        pipeline: its graph.
        printed: by the command that staged it.
    """

    description: dict[str, Any]
    pipeline: beam_runner_api_pb2.Pipeline
    printed: str

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
        """All leaves on a way from a step to another, with those that the two consist of.

        Args:
            first: name of a step; leaves of it and below are where ways begin.
            last: where they end.
        """
        leaves = self.leaves()

        def reached(starts: set[str], inputs: str, outputs: str) -> set[str]:
            found = set(starts)
            ends = {pcoll for name in starts for pcoll in getattr(leaves[name], outputs).values()}
            while True:
                further = {
                    name
                    for name, leaf in leaves.items()
                    if name not in found and ends & set(getattr(leaf, inputs).values())
                }
                if not further:
                    return found
                found |= further
                ends |= {pcoll for name in further for pcoll in getattr(leaves[name], outputs).values()}

        def of(step: str) -> set[str]:
            found = {
                name for name, leaf in leaves.items() if re.search(rf"(^|/){re.escape(step)}(/|$)", leaf.unique_name)
            }
            assert found, f"no step {step}"
            return found

        both = reached(of(first), "inputs", "outputs") & reached(of(last), "outputs", "inputs")
        return {name: leaves[name] for name in both}

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
                for match in _PATH.finditer(layer):
                    path = match.group().decode()
                    if any(path.startswith(folder) for folder in LOCAL) and ".py" not in path:
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
    done = audiosieve(*command[1:], f"--template_location={bucket / 'templates/job.json'}")
    (graph,) = (name for name in set(bucket.names()) - before if name.endswith("/pipeline.pb"))
    pipeline = beam_runner_api_pb2.Pipeline.FromString(bucket.read(graph))
    return Job(json.loads(bucket.read("templates/job.json")), pipeline, done.stdout + done.stderr)


def run_here(job: Job) -> None:
    """Runs a staged graph to its end in this process: nothing but the container is replaced by what is here."""
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.CopyFrom(job.pipeline)
    for environment in pipeline.components.environments.values():
        assert environment.urn == common_urns.environments.DOCKER.urn
        environment.urn = "beam:env:embedded_python:v1"
        environment.payload = b""
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()
