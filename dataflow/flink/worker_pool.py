"""External worker pool for Beam's portable runners: starts a Python worker whenever a runner requests one.

    python dataflow/flink/worker_pool.py --port 50000    # for --environment_type=EXTERNAL --environment_config=localhost:50000

All TaskManagers of a machine can share this pool. They cannot share Beam's own pool
(`apache_beam.runners.worker.worker_pool_main`): every TaskManager numbers its workers from 1-1, and Beam's pool identifies
workers by that number. The first TaskManager that finishes would stop the worker of another one, which then waits forever.
Here a worker ends when its runner closes the control stream or dies.

This pool listens on this machine only. Beam's pool listens on all interfaces, and anyone who can reach a pool can make it
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
    """The service that runners call. Each worker is a process that shares the pool's stdout and stderr."""

    def StartWorker(  # noqa: N802 -- named by the service
        self,
        request: beam_fn_api_pb2.StartWorkerRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Starts a worker with the options of its pipeline, as the boot program of Beam's containers does."""
        try:
            environment = _environment(request)
        except grpc.RpcError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"the runner did not send its provision info: {error}")
        worker = subprocess.Popen(
            [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"], env={**os.environ, **environment}
        )
        log(f"worker {request.worker_id} of {request.control_endpoint.url} is process {worker.pid}")
        threading.Thread(target=_log_end, args=(request.worker_id, worker), daemon=True).start()
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(  # noqa: N802
        self,
        request: beam_fn_api_pb2.StopWorkerRequest,  # noqa: ARG002
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        """Does nothing: an unneeded worker ends by itself, and a worker of another TaskManager may have the same id."""
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


def _log_end(name: str, worker: subprocess.Popen[bytes]) -> None:
    log(f"worker {name}, process {worker.pid}, ended with status {worker.wait()}")


def log(text: str) -> None:
    """Writes a line to the pool's log."""
    print(f"worker_pool: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Serves until a signal ends it."""
    parser = argparse.ArgumentParser(description="Starts a Python worker whenever a Beam runner requests one.")
    parser.add_argument(
        "--port", type=int, default=50000, help="port on this machine; 0 for any free port (default: 50000)"
    )
    port = parser.parse_args().port
    # Without this option a second pool could take the same port and get half of the calls.
    server = grpc.server(futures.ThreadPoolExecutor(), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError:
        sys.exit(f"worker_pool: port {port} is in use; choose another --port")
    server.start()
    log(f"listening at localhost:{bound}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    server.wait_for_termination()


if __name__ == "__main__":
    main()
