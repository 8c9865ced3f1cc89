"""An external worker pool for Beam's portable runners: starts a Python worker whenever a runner asks for one.

    python dataflow/flink/worker_pool.py --port 50000    # for --environment_type=EXTERNAL --environment_config=localhost:50000

Beam has one too (`apache_beam.runners.worker.worker_pool_main`), as a companion of a single TaskManager. This one may be shared
by all TaskManagers of a machine. Each of them counts its workers from 1-1, and Beam's pool knows them by that: the first
TaskManager that is done with its own stops another's, which then waits forever. Here a worker ends when its runner closes its
control stream, or dies. And this pool listens to this machine only; Beam's listens to all, and whoever reaches a pool makes it
run code.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from concurrent import futures

import grpc
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
)
from google.protobuf import json_format, text_format


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """The service that runners call; each worker is a process of its own, whose output is ours."""

    def StartWorker(  # noqa: N802 -- the service's name for it
        self,
        request: beam_fn_api_pb2.StartWorkerRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Starts a worker with the options of its pipeline, as the start program of Beam's containers does."""
        try:
            environment = _environment(request)
        except grpc.RpcError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"the runner does not say what to run: {error}")
        worker = subprocess.Popen(
            [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"], env={**os.environ, **environment}
        )
        say(f"worker {request.worker_id} of {request.control_endpoint.url} is process {worker.pid}")
        threading.Thread(target=_see_off, args=(request.worker_id, worker), daemon=True).start()
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(  # noqa: N802
        self,
        request: beam_fn_api_pb2.StopWorkerRequest,  # noqa: ARG002
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        """Does nothing: a worker that is no longer wanted ends by itself, and another's may have the same name."""
        return beam_fn_api_pb2.StopWorkerResponse()


def _environment(request: beam_fn_api_pb2.StartWorkerRequest) -> dict[str, str]:
    with grpc.insecure_channel(request.provision_endpoint.url) as channel:
        info = (
            beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
            .GetProvisionInfo(
                beam_provision_api_pb2.GetProvisionInfoRequest(),
                metadata=[("worker_id", request.worker_id)],
                timeout=60,
            )
            .info
        )
    return {
        "WORKER_ID": request.worker_id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(request.control_endpoint),
        "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(request.logging_endpoint),
    }


def _see_off(name: str, worker: subprocess.Popen[bytes]) -> None:
    say(f"worker {name}, process {worker.pid}, ended with {worker.wait()}")


def say(text: str) -> None:
    """A line of the pool's log."""
    print(f"worker_pool: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description="Starts a Python worker whenever a runner of Beam asks for one.")
    parser.add_argument("--port", type=int, default=50000, help="to listen at, on this machine only; 0 for any (50000)")
    asked = parser.parse_args().port
    # Two pools at one port would share its calls.
    server = grpc.server(futures.ThreadPoolExecutor(), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    try:
        port = server.add_insecure_port(f"127.0.0.1:{asked}")
    except RuntimeError:
        sys.exit(f"worker_pool: port {asked} is taken; choose another --port")
    server.start()
    say(f"listening at localhost:{port}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    server.wait_for_termination()


if __name__ == "__main__":
    main()
