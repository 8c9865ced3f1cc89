"""Selection of Beam's runner: the local one, which needs no network, or another one, whose job server is checked first."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import grpc
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipelines.common.beam_worker import WORKER_COMMAND
from pipelines.common.errors import UsageError
from transforms.storage.gcs.client import PLUGIN

LOCAL_RUNNERS = {None, "DirectRunner", "SwitchingDirectRunner", "FnApiRunner"}
# Seconds to wait for an answer of a job server.
JOB_SERVER_TIMEOUT_S = 10


def usable_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_local(beam_arguments: Sequence[str]) -> bool:
    """Whether Beam's options select a runner on this machine."""
    return PipelineOptions(list(beam_arguments)).view_as(StandardOptions).runner in LOCAL_RUNNERS


def requested_processes(beam_arguments: Sequence[str]) -> int | None:
    """Returns the number of local processes that `--direct_num_workers` sets; None if it is not given.

    Raises:
        UsageError: the number is negative.
    """
    if not any(argument.startswith("--direct_num_workers") for argument in beam_arguments):
        return None
    return _direct_num_workers(PipelineOptions(list(beam_arguments))) or usable_cores()


def beam_options(beam_arguments: Sequence[str]) -> tuple[PipelineRunner, PipelineOptions]:
    """Returns the runner and the options of a pipeline.

    A local run uses FnApiRunner by name, because "DirectRunner" would first try to download another runner. With
    `--direct_num_workers` over 1 it starts processes, because threads would share one interpreter lock.

    Raises:
        UsageError: the runner is unknown or cannot be used here, or its job server does not answer.
    """
    options = PipelineOptions(list(beam_arguments))
    setup = options.view_as(SetupOptions)
    # The commands keep no state in their main module that workers would have to load.
    setup.save_main_session = False
    setup.beam_plugins = [*(setup.beam_plugins or ()), PLUGIN]
    standard = options.view_as(StandardOptions)
    if standard.runner not in LOCAL_RUNNERS:
        _check_job_server(options)
        try:
            return create_runner(standard.runner), options
        except (ValueError, ImportError) as error:
            raise UsageError(f"--runner {standard.runner} cannot be used: {error}") from error
    standard.runner = None
    direct = options.view_as(DirectOptions)
    environment = None
    if _direct_num_workers(options) != 1 and direct.direct_running_mode in ("in_memory", "multi_processing"):
        # In these modes Beam would replace this environment by its own.
        direct.direct_running_mode = None
        environment = SubprocessSDKEnvironment.from_command_string(WORKER_COMMAND)
    return FnApiRunner(environment), options


def job_server_options(beam_arguments: Sequence[str]) -> list[str]:
    """Asks the job server for its own options, such as Flink's `execution_mode_for_batch`.

    Returns:
        Names of the options, without dashes; empty if no job server is given.

    Raises:
        UsageError: the job server does not answer.
    """
    endpoint = _check_job_server(PipelineOptions(list(beam_arguments)))
    if endpoint is None:
        return []
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        request = beam_job_api_pb2.DescribePipelineOptionsRequest()
        try:
            answer = service.DescribePipelineOptions(request, timeout=JOB_SERVER_TIMEOUT_S)
        except grpc.RpcError as error:
            raise UsageError(f"--job_endpoint {endpoint}: this is not a job server ({error.code().name})") from error
    return [option.name for option in answer.options]


def _direct_num_workers(options: PipelineOptions) -> int:
    number = int(options.view_as(DirectOptions).direct_num_workers)
    if number < 0:
        raise UsageError(f"--direct_num_workers is {number}; must be at least 0 (0: all cores)")
    return number


def _check_job_server(options: PipelineOptions) -> str | None:
    """Returns the address of the job server; None if no HOST:PORT is given.

    Beam itself waits five minutes for a job server that does not answer.

    Raises:
        UsageError: the job server does not answer, or the runner needs one.
    """
    endpoint = options.view_as(PortableOptions).job_endpoint
    if not endpoint:
        if options.view_as(StandardOptions).runner == "PortableRunner":
            raise UsageError("--runner PortableRunner needs the address of a job server: --job_endpoint=HOST:PORT")
        return None
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal():
        # "embed", or an address of another kind.
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), JOB_SERVER_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--job_endpoint {endpoint}: no job server answers there ({error})") from error
    return str(endpoint)
