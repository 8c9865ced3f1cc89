"""Worker processes of Beam read Cloud Storage as the launcher does."""

from __future__ import annotations

import os

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipelines.common.runners import beam_options
from transforms.storage.gcs.client import patch_beam

LOOPBACK = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--direct_num_workers=2"], LOOPBACK], ids=["local", "portable"])
def test_beam_is_patched_in_each_worker(arguments):
    def access(launcher: int) -> tuple[bool, str]:
        from apache_beam.io.gcp import gcsio

        return os.getpid() == launcher, gcsio.GcsIO.__name__

    patch_beam()  # for the worker of LOOPBACK, which is a thread of the launcher
    runner, options = beam_options(arguments)
    with beam.Pipeline(runner, options) as root:
        accesses = root | beam.Create([os.getpid()]) | beam.Map(access).with_output_types(object)
        assert_that(accesses, equal_to([("--runner=PortableRunner" in arguments, "CloudStorage")]))
