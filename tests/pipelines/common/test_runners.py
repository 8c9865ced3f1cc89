"""Runners on other machines: a wrong address or option is reported before any work starts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from pipelines.common import runners
from pipelines.common.runners import requested_processes
from tests.support.command import audiosieve


class DescribedOptions(beam_job_api_pb2_grpc.JobServiceServicer):
    """The one call of a job server that says which options it has."""

    def DescribePipelineOptions(self, request, context):  # noqa: ARG002, N802
        names = ("execution_mode_for_batch", "parallelism")
        return beam_job_api_pb2.DescribePipelineOptionsResponse(
            options=[beam_job_api_pb2.PipelineOptionDescriptor(name=name) for name in names]
        )


@pytest.fixture
def job_server() -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(DescribedOptions(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"localhost:{port}"
    server.stop(None)


def refused(samples, tmp_path, *options: str) -> str:
    said = audiosieve("score", "--input", samples, "--output", tmp_path / "out", *options, status=2).stderr
    assert not (tmp_path / "out").exists()
    assert len(said.splitlines()) == 1
    return said


def test_a_job_server_that_is_not_there_is_one_sentence_at_once(samples, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    said = refused(samples, tmp_path, "--runner=PortableRunner", f"--job_endpoint={endpoint}")
    assert f"--job_endpoint {endpoint}: no job server answers there" in said
    assert "--job_endpoint=HOST:PORT" in refused(samples, tmp_path, "--runner=PortableRunner")


def test_options_that_only_the_job_server_knows_are_taken_and_others_are_not(samples, tmp_path, job_server):
    elsewhere = ["--runner=PortableRunner", f"--job_endpoint={job_server}", "--execution_mode_for_batch=BATCH"]
    said = refused(samples, tmp_path, *elsewhere, "--exection_mode_for_batch=BATCH")
    assert "unknown option --exection_mode_for_batch (did you mean --execution_mode_for_batch?)" in said
    said = refused(samples, tmp_path, *elsewhere, "--threads=0")
    assert "--threads is 0; must be at least 1" in said


def test_who_answers_may_be_no_job_server(samples, tmp_path):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    said = refused(samples, tmp_path, "--runner=PortableRunner", f"--job_endpoint=localhost:{port}", "--some_option")
    server.stop(None)
    assert "this is not a job server (UNIMPLEMENTED)" in said


@pytest.mark.parametrize(
    ("arguments", "processes"), [([], None), (["--direct_num_workers=3"], 3), (["--direct_num_workers", "0"], 5)]
)
def test_requested_processes(monkeypatch: pytest.MonkeyPatch, arguments: list[str], processes: int | None) -> None:
    monkeypatch.setattr(runners, "usable_cores", lambda: 5)  # 0 requests one for each core
    assert requested_processes(arguments) == processes
