"""`audiosieve serve`: an HTTP service that takes recordings and returns their scores."""

from __future__ import annotations

import dataclasses
import ipaddress
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec

from model.bundle import DEFAULT
from pipelines.common.argument_types import host_names, number, positive_int, whole_number
from pipelines.common.arguments import MODEL_HELP, Dependent, Parser, add_batch_options, check_effects, parse_options
from pipelines.common.errors import UsageError, command
from pipelines.service.settings import ServeOptions, Settings
from transforms.scoring.bundles import find_bundle
from transforms.scoring.inference import ScorerHandler

# Packages of the extra `serve`.
_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
# Longest time after SIGTERM for accepted requests to finish, in seconds.
DRAIN_S = 300
# Time to keep an idle connection, in seconds. Proxies such as nginx keep it for less: the proxy must close it first.
KEEP_ALIVE_S = 75


@command("serve")
def run(argv: Sequence[str]) -> int:
    """Serves until SIGTERM or SIGINT."""
    options = _with_own_names(parse(argv))
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} is not installed: pip install 'audiosieve[serve]'")
    from pipelines.service.api_keys import VARIABLE, keys_of_environment

    find_bundle(options.model)
    try:
        keys = keys_of_environment()
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not keys and not is_loopback(options.host):
        print(
            f"audiosieve serve: WARNING: other machines can use the service on {options.host} without a key; "
            f"set keys in {VARIABLE}",
            file=sys.stderr,
        )
    if options.workers > 1:
        from pipelines.service.nginx import serve_behind_nginx

        # nginx starts after the workers: check its port before their models are loaded.
        _bind(options.host, options.port).close()
        return serve_behind_nginx(options)
    # An exit at any time removes the temporary folder; uvicorn raises the signal again after its shutdown.
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="audiosieve-serve-") as folder:
        # Uploads and decoded samples are unnamed temporary files; put all of them into this folder.
        tempfile.tempdir = folder
        try:
            return _serve(options, keys)
        finally:
            tempfile.tempdir = None


def _with_own_names(options: ServeOptions) -> ServeOptions:
    """Adds the full name of this machine, and the name in `--host`, to the names of the service.

    Addresses, and names without a dot, are accepted without this.
    """
    own = {name.lower() for name in (options.host, socket.gethostname()) if "." in name and not _is_address(name)}
    return dataclasses.replace(options, hosts=(*options.hosts, *own))


def _serve(options: ServeOptions, keys: tuple[str, ...]) -> int:
    import uvicorn

    from pipelines.service.app import build

    try:
        settings = Settings.from_options(options, keys)
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
    ready = f"{scorer.bundle.model_id} listens on http://{f'[{host}]' if ':' in host else host}:{port}"

    class Server(uvicorn.Server):
        broken = False

        def abandon(self) -> None:
            # The process manager starts a new process; this one cannot recover.
            self.broken = self.should_exit = True

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(ready, flush=True)

    server = Server(config)
    server.run(sockets=[bound])
    return int(server.broken)


def _bind(host: str, port: int) -> socket.socket:
    """Returns a bound socket, which refuses connections until the service listens."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise UsageError(f"--host {host} --port {port}: cannot listen there ({error})") from error
    return bound


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host: `localhost` or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse(argv: Sequence[str]) -> ServeOptions:
    """Returns the options of the command."""
    parser = build_parser()
    options = parse_options(parser, argv, ServeOptions)
    check_effects(parser, argv, options, Dependent(("rate",), options.workers > 1, "--workers of at least 2"))
    return options


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "serve",
        "Serve a model over HTTP: POST /v1/score returns the scores of recordings, and / is a page to try it. Set the keys of "
        "clients in AUDIOSIEVE_API_KEYS.",
    )
    add, further = parser.add_argument, parser.further.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; set keys if other machines can reach it")
    add(
        "--port",
        type=whole_number(at_least=0, at_most=65_535),
        default=8000,
        help="port to listen on; 0 for any free port",
    )
    add("--model", default=DEFAULT, help=MODEL_HELP)
    add(
        "--workers",
        type=positive_int,
        default=1,
        help="number of service processes; more than one run behind nginx, which must be installed",
    )
    further(
        "--rate",
        type=whole_number(at_least=0),
        default=100,
        help="requests per second that nginx accepts from one address; more get status 429; 0 for no limit; needs --workers "
        "over 1",
    )
    further("--threads", type=positive_int, default=1, help="TensorFlow threads in each process")
    further("--decoders", type=positive_int, default=2, help="decoding threads in each process")
    further(
        "--max_wait_ms",
        type=number(at_least=0, at_most=10_000),
        default=5.0,
        help="longest wait of a recording for others to batch with, in milliseconds",
    )
    add_batch_options(parser, "recordings")
    further(
        "--queue",
        type=positive_int,
        default=256,
        help="largest number of open requests in a process; more get status 503",
    )
    further(
        "--queue_frames",
        type=positive_int,
        default=524_288,
        help="largest number of frames in a process, 1 kB each; more get status 503",
    )
    further("--max_mb", type=number(over=0), default=256.0, help="largest request in MiB; larger ones get status 413")
    further(
        "--max_s", type=number(over=0), default=3600.0, help="longest recording in seconds; longer ones get status 413"
    )
    further(
        "--max_silence_s",
        type=number(over=0),
        default=30.0,
        help="longest pause of an upload in seconds; a longer one ends the request with status 408",
    )
    further(
        "--min_kb_s",
        type=number(at_least=0),
        default=16.0,
        help="lowest mean rate of an upload in kB/s, after its first --max_silence_s seconds; a slower one ends the request "
        "with status 408; 0 for no limit",
    )
    further(
        "--hosts",
        type=host_names,
        default="",
        metavar="NAME,...",
        help="names of the service besides its addresses and the name of this machine. Requests under another name with a dot "
        "get status 403 if the service has no keys, and so do requests from web pages of other hosts",
    )
    return parser
