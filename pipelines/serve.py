"""`audiosieve serve`: recordings come in over HTTP, their scores go back."""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec

from model.bundle import DEFAULT, bundled_names
from pipelines.common.arguments import Parser, UsageError, command
from transforms.scoring.batching import BatchLimits
from transforms.scoring.bundles import find_bundle
from transforms.scoring.inference import ScorerHandler

# What the extra `serve` brings.
_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
# Requests that are inside when SIGTERM comes get their answers, for so long.
DRAIN_S = 300
# Longer than a server in front keeps an idle connection, which must be the one to close it.
KEEP_ALIVE_S = 75


@command("serve")
def run(argv: Sequence[str]) -> int:
    """Parses the command line and serves until SIGTERM or SIGINT."""
    options = _parser().parse_args(argv)
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} is not installed: pip install 'audiosieve[serve]'")
    from pipelines.service.api_keys import VARIABLE, keys_of_environment

    _check_options(options)
    find_bundle(options.model)
    try:
        keys = keys_of_environment()
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not keys and not _is_loopback(options.host):
        print(
            f"audiosieve serve: WARNING: others can reach {options.host}, and no key is asked for; {VARIABLE} sets keys",
            file=sys.stderr,
        )
    if options.workers > 1:
        from pipelines.service.nginx import serve_behind_nginx

        # nginx would find out only once the workers are up, and whoever asks whether it listens would hear another.
        _bind(options.host, options.port).close()
        return serve_behind_nginx(options)
    # Whenever it comes, what was begun is tidied up; uvicorn raises the signal that ended it once more when all is done.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="audiosieve-serve-") as private:
        # Spool files and the samples of long recordings: all temporary files of this process, and they have no names.
        tempfile.tempdir = private
        try:
            return _serve(options, keys)
        finally:
            tempfile.tempdir = None


def _serve(options: argparse.Namespace, keys: tuple[str, ...]) -> int:
    import uvicorn

    from pipelines.service.app import build
    from pipelines.service.settings import Settings

    defaults = Settings()
    try:
        settings = dataclasses.replace(
            defaults,
            batch=BatchLimits(batch_size=options.batch_size, batch_frames=options.batch_frames),
            max_wait_s=options.max_wait_ms / 1000,
            decoders=options.decoders,
            max_requests=options.queue,
            max_frames=options.queue_frames,
            max_upload_bytes=int(options.max_mb * (1 << 20)),
            max_spool_bytes=max(defaults.max_spool_bytes, int(options.max_mb * (1 << 20))),
            max_audio_s=options.max_s,
            max_silence_s=options.max_silence_s,
            keys=keys,
        )
    except ValueError as error:
        raise UsageError(f"--queue_frames is {options.queue_frames}: {error}") from error
    bound = _bind(options.host, options.port)
    scorer = ScorerHandler(options.model, options.threads).load_model()
    config = uvicorn.Config(
        build(scorer, settings, on_failure=lambda: server.abandon()),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        ws="none",
    )
    host, port = bound.getsockname()[:2]
    said = f"{scorer.bundle.model_id} listens on http://{f'[{host}]' if ':' in host else host}:{port}"

    class Server(uvicorn.Server):
        broken = False

        def abandon(self) -> None:
            # Whoever looks after this process starts another: that helps, and to stay would not.
            self.broken = self.should_exit = True

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(said, flush=True)

    server = Server(config)
    server.run(sockets=[bound])
    return int(server.broken)


def _bind(host: str, port: int) -> socket.socket:
    """A socket that has its address, and refuses connections until the model is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise UsageError(f"--host {host} --port {port}: cannot listen there ({error})") from error
    return bound


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_options(options: argparse.Namespace) -> None:
    for name in ("threads", "decoders", "workers", "queue", "queue_frames", "batch_size", "batch_frames"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    for name in ("max_mb", "max_s", "max_silence_s"):
        if not 0 < getattr(options, name) < float("inf"):
            raise UsageError(f"--{name} is {getattr(options, name):g}; it must be a number over 0")
    if not 0 <= options.max_wait_ms <= 10_000:
        raise UsageError(f"--max_wait_ms is {options.max_wait_ms:g}; it must be 0 to 10000")
    if options.rate < 0:
        raise UsageError(f"--rate is {options.rate}; it must be at least 0 (0: no limit)")
    if not 0 <= options.port < 1 << 16:
        raise UsageError(f"--port is {options.port}; it must be 0 (any that is free) to 65535")


def _parser() -> Parser:
    parser = Parser(
        "serve",
        "Serve a model over HTTP: POST /v1/score takes recordings and gives their scores, and / is a page to try it. Keys that "
        "clients must have are set by AUDIOSIEVE_API_KEYS.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; with any but this machine's own, set keys")
    add("--port", type=int, default=8000, help="port to listen on; 0 for any that is free")
    add(
        "--model",
        default=DEFAULT,
        help=f"a bundled model ({', '.join(bundled_names())}) or a bundle's folder, also in a bucket",
    )
    add("--workers", type=int, default=1, help="processes; more than one work behind nginx, which must be installed")
    add(
        "--rate",
        type=int,
        default=100,
        help="requests a second that nginx takes from one address; more gets 429; 0: any",
    )
    add("--threads", type=int, default=1, help="threads of TensorFlow in each process")
    add("--decoders", type=int, default=2, help="threads that decode in each process")
    add(
        "--max_wait_ms",
        type=float,
        default=5.0,
        help="how long a recording waits for others to share a call of the model",
    )
    add("--batch_size", type=int, default=BatchLimits().batch_size, help="recordings in a batch at most")
    add("--batch_frames", type=int, default=BatchLimits().batch_frames, help="padded frames in a batch at most")
    add("--queue", type=int, default=256, help="requests inside a process at a time; further ones get 503")
    add("--queue_frames", type=int, default=524_288, help="frames inside a process at a time, 1 kB each; the same")
    add("--max_mb", type=float, default=256.0, help="MiB of a request; more gets 413")
    add("--max_s", type=float, default=3600.0, help="seconds of a recording; more gets 413")
    add("--max_silence_s", type=float, default=30.0, help="seconds without a byte of an upload; then it is given up")
    return parser
