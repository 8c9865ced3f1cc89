"""What all jobs' command lines share: our options checked, Beam's options checked, a local run kept local."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

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

from model.bundle import BundleError
from pipelines.common.beam_worker import WORKER_COMMAND
from transforms.corpus.sources import SourceError
from transforms.errors import OutputError
from transforms.storage.gcs import PLUGIN, patch_beam
from transforms.storage.storage_errors import outage

# For a job server to answer.
CONNECT_S = 10
LOCAL_RUNNERS = {None, "DirectRunner", "SwitchingDirectRunner", "FnApiRunner"}


class UsageError(ValueError):
    """The command line asks for what cannot be."""


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default not in (None, [], False) else action.help


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and says what is wrong in one sentence."""

    def __init__(self, job: str, description: str) -> None:
        super().__init__(
            prog=f"audiosieve {job}",
            description=description,
            allow_abbrev=False,
            formatter_class=_Help,
        )

    def error(self, message: str) -> NoReturn:
        """Hands the message to `main`, which prints it."""
        raise UsageError(message)


def command(job: str) -> Callable[[Callable[[Sequence[str]], int]], Callable[[Sequence[str]], int]]:
    """Turns what is expected of a job's `run` into one sentence: a mistake, exit status 2; a storage that is down, 1."""

    def decorate(run: Callable[[Sequence[str]], int]) -> Callable[[Sequence[str]], int]:
        @functools.wraps(run)
        def checked(argv: Sequence[str]) -> int:
            # Beam warns of what it lacks and a local run never needs.
            logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s", force=True)
            logging.getLogger().handlers[0].addFilter(_is_news)
            patch_beam()
            try:
                return run(argv)
            except (UsageError, SourceError, OutputError, BundleError) as error:
                print(f"audiosieve {job}: {error}", file=sys.stderr)
                return 2
            except Exception as error:
                said = outage(error)
                if said is None:
                    raise
                print(f"audiosieve {job}: {said}; run the same command again when it does", file=sys.stderr)
                return 1

        return checked

    return decorate


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record tells more than what `command` says in a sentence; Beam logs what it then raises."""
    return not (record.exc_info and record.exc_info[1] and outage(record.exc_info[1]))


def parse(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits a command line into the job's own options and Beam's.

    Raises:
        UsageError: an option is unknown to both and to the job server, is missing, or has an impossible value.
    """
    options, rest = parser.parse_known_args(join_negative_values(argv))
    beam_parser = Parser("", "")
    for group in PipelineOptions.__subclasses__():
        group._add_argparse_args(beam_parser)
    _, unknown = beam_parser.parse_known_args(rest)
    if unknown:
        for name in _job_server_options(PipelineOptions(rest)):
            with contextlib.suppress(argparse.ArgumentError):  # Beam has it too
                beam_parser.add_argument(f"--{name}", nargs="?")
        _, unknown = beam_parser.parse_known_args(rest)
    if unknown:
        name = unknown[0].partition("=")[0]
        known = [option for p in (parser, beam_parser) for action in p._actions for option in action.option_strings]
        close = difflib.get_close_matches(name, known, n=1)
        raise UsageError(f"there is no option {name}" + (f"; is {close[0]} meant?" if close else "; see --help"))
    return options, rest


def join_negative_values(argv: Sequence[str]) -> list[str]:
    """Lets `--snr -10:30` be written with a space, which argparse reads as two options."""
    joined: list[str] = []
    for word in argv:
        if re.match(r"-\d", word) and joined and re.fullmatch(r"--\w+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_processes(arguments: Sequence[str]) -> int | None:
    """How many processes of this machine are asked for.

    Returns:
        Their number; 0 where it is left to us; None for a runner that works elsewhere.

    Raises:
        UsageError: the number cannot be.
    """
    options = PipelineOptions(list(arguments))
    if options.view_as(StandardOptions).runner not in LOCAL_RUNNERS:
        return None
    if not any(argument.startswith("--direct_num_workers") for argument in arguments):
        return 0
    asked = options.view_as(DirectOptions).direct_num_workers
    if asked < 0:
        raise UsageError(f"--direct_num_workers is {asked}; it must be at least 0 (0: all cores)")
    return asked or usable_cores()


def beam_options(arguments: Sequence[str]) -> tuple[PipelineRunner, PipelineOptions]:
    """The runner and the options of a pipeline.

    A local run uses Beam's FnApiRunner by name: what "DirectRunner" stands for first looks for another runner on the
    network. More than one `--direct_num_workers` means processes: threads would share one interpreter lock.

    Raises:
        UsageError: there is no such runner, or it cannot be used here, or its job server does not answer.
    """
    options = PipelineOptions(list(arguments))
    setup = options.view_as(SetupOptions)
    # An entry point holds no state for workers to load.
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
    if direct.direct_num_workers < 0:
        raise UsageError(f"--direct_num_workers is {direct.direct_num_workers}; it must be at least 0 (0: all cores)")
    environment = None
    if direct.direct_num_workers != 1 and direct.direct_running_mode in ("in_memory", "multi_processing"):
        direct.direct_running_mode = None  # which would put Beam's own environment in the place of ours
        environment = SubprocessSDKEnvironment.from_command_string(WORKER_COMMAND)
    return FnApiRunner(environment), options


def _check_job_server(options: PipelineOptions) -> str | None:
    """Returns the address of the job server, where one is named; Beam would wait five minutes for one that is not there.

    Raises:
        UsageError: nobody answers, or the runner needs one.
    """
    endpoint = options.view_as(PortableOptions).job_endpoint
    if not endpoint:
        if options.view_as(StandardOptions).runner == "PortableRunner":
            raise UsageError("--runner PortableRunner needs the address of a job server: --job_endpoint=HOST:PORT")
        return None
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal():
        return None  # "embed", or an address of another kind
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--job_endpoint {endpoint}: no job server answers there ({error})") from error
    return str(endpoint)


def _job_server_options(options: PipelineOptions) -> list[str]:
    """Names of the options that only the job server knows, as Flink's `execution_mode_for_batch`."""
    endpoint = _check_job_server(options)
    if endpoint is None:
        return []
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        try:
            said = service.DescribePipelineOptions(beam_job_api_pb2.DescribePipelineOptionsRequest(), timeout=CONNECT_S)
        except grpc.RpcError as error:
            raise UsageError(
                f"--job_endpoint {endpoint}: what answers there is no job server ({error.code().name})"
            ) from error
    return [option.name for option in said.options]
