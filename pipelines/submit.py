"""`audiosieve submit`: sends recordings to a service and prints their scores."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from pipelines.common.argument_types import channels, existing_file, number, positive_int
from pipelines.common.arguments import Dependent, Parser, check_effects, parse_options
from pipelines.common.errors import command
from pipelines.common.terminal import columns
from transforms.analysis.text_tables import score_row, score_table, unscored_row
from transforms.elements import AUTO, FIRST, MIX, printable

FORMATS = ("table", "json")
# Environment variable with the client's key. The service reads its keys from AUDIOSIEVE_API_KEYS.
KEY_VARIABLE = "AUDIOSIEVE_API_KEY"
MAX_WAIT_S = 60.0
# Status codes after which a retry may succeed.
_RETRY_STATUS = (429, 502, 503)
_BLOCK_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class SubmitOptions:
    """Options of `audiosieve submit`.

    Attributes:
        files: paths of the recordings, at least one.
        url: address of the service.
        format: "table" or "json".
        frames: whether to request frame scores.
        anomalies: whether to request anomalies.
        channels: channels to score: "auto", "mix", "first" or the number of a channel.
        at_a_time: number of requests in flight, at least 1.
        timeout_s: longest wait for a response in seconds, over 0.
        patience_s: longest time of retries in seconds, at least 0, while the service is full or unreachable.
    """

    files: tuple[str, ...]
    url: SplitResult
    format: str
    frames: bool
    anomalies: bool
    channels: str
    at_a_time: int
    timeout_s: float
    patience_s: float


@command("submit")
def run(argv: Sequence[str]) -> int:
    """Sends the recordings and prints their scores; the exit status is 1 if a recording has no score."""
    options = parse(argv)
    sender = _Sender(options)
    rows, failed = [], 0
    with ThreadPoolExecutor(options.at_a_time) as pool:
        for path, answer in zip(options.files, pool.map(sender.send, options.files), strict=True):
            failed += "score" not in answer
            if options.format == "json":
                print(json.dumps({"file": path, **answer}), flush=True)
            else:
                rows.append(_row(path, answer))
    if options.format == "table":
        print(score_table(rows, columns()))
    if failed:
        print(f"audiosieve submit: {failed} of {len(options.files)} have no score", file=sys.stderr)
    return 1 if failed else 0


@dataclasses.dataclass(frozen=True)
class _Response:
    """A response of the service.

    Attributes:
        status: HTTP status.
        retry_after_s: wait before a retry in seconds; None if the service does not state it.
        body: body of the response.
    """

    status: int
    retry_after_s: float | None
    body: bytes


@dataclasses.dataclass(frozen=True)
class _Sender:
    """Sends recordings to one service.

    Attributes:
        options: options of the command.
    """

    options: SubmitOptions
    _printed: set[str] = dataclasses.field(default_factory=set)

    def send(self, path: str) -> dict[str, Any]:
        """Returns the response for a file: its score, or a problem with reason and detail."""
        options = self.options
        query = {"utterance_id": printable(Path(path).name)[:255], "channels": options.channels}
        if options.frames:
            query["frames"] = "true"
        # The remarks of the table name the anomalies.
        if options.anomalies or options.format == "table":
            query["anomalies"] = "true"
        deadline = time.monotonic() + options.patience_s
        for pause in _pauses():
            try:
                response = self._post(path, f"/v1/score?{urlencode(query)}")
            except _UnreadableError as error:
                return _problem("unreadable", str(error))
            except (OSError, http.client.HTTPException) as error:
                detail = f"{options.url.netloc}: {str(error) or type(error).__name__}"
                result, wait_s = _problem("unreachable", detail), pause
                notice = f"{detail}; trying again for {options.patience_s:g} s"
            else:
                result = _read(response)
                if response.status not in _RETRY_STATUS:
                    return result
                wait_s = pause if response.retry_after_s is None else min(response.retry_after_s, MAX_WAIT_S)
                notice = ""
            if time.monotonic() + wait_s > deadline:
                return result
            if notice:
                self._print_once(notice)
            time.sleep(wait_s)
        raise AssertionError("pauses do not end")

    def _post(self, path: str, target: str) -> _Response:
        """Sends a file.

        Args:
            path: path of the file.
            target: path and query of the request, after the path of the service's address.

        Raises:
            _UnreadableError: the file cannot be read.
            OSError, http.client.HTTPException: the service cannot be reached.
        """
        url = self.options.url
        connection_type = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = connection_type(url.hostname or "", url.port, timeout=self.options.timeout_s)
        with _reading_file():
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(Path(path).stat().st_size)}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        with contextlib.closing(connection):
            # A service may refuse a request and close the connection during the upload; its response has the reason.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", url.path.rstrip("/") + target, _blocks(path), headers)
            response = connection.getresponse()
            retry_after = response.headers["Retry-After"] or ""
            return _Response(response.status, float(retry_after) if retry_after.isdecimal() else None, response.read())

    def _print_once(self, text: str) -> None:
        """Prints a line to stderr unless it was printed before."""
        if text not in self._printed:
            self._printed.add(text)
            print(f"audiosieve submit: {text}", file=sys.stderr, flush=True)


class _UnreadableError(Exception):
    """A file that cannot be read; a retry would not help."""


@contextlib.contextmanager
def _reading_file() -> Iterator[None]:
    """Converts errors of a file to `_UnreadableError`, to distinguish them from errors of the network."""
    try:
        yield
    except OSError as error:
        raise _UnreadableError(str(error)) from error


def _blocks(path: str) -> Iterator[bytes]:
    """Yields the bytes of a file."""
    with _reading_file(), Path(path).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _pauses() -> Iterator[float]:
    """Yields the wait before each retry in seconds, for responses without Retry-After."""
    pause = 0.5
    while True:
        yield pause
        pause = min(2 * pause, MAX_WAIT_S)


def _problem(reason: str, detail: str) -> dict[str, Any]:
    return {"reason": reason, "detail": detail}


def _read(response: _Response) -> dict[str, Any]:
    """Returns the body of a response as a dict; a body that is not from audiosieve becomes a problem."""
    try:
        answer = json.loads(response.body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not ("score" in answer or "reason" in answer):
        detail = f"status {response.status}, but the response is not from an audiosieve service: check --url"
        return _problem("no_service", detail)
    return answer


def _row(path: str, answer: dict[str, Any]) -> list[str]:
    if "score" not in answer:
        return unscored_row(path, f"{answer['reason']}: {answer['detail']}")
    bad = [(span["start_s"], span["end_s"], span.get("cause")) for span in answer.get("anomalies") or ()]
    return score_row(path, answer, bad)


def parse(argv: Sequence[str]) -> SubmitOptions:
    """Returns the options of the command."""
    parser = build_parser()
    options = parse_options(parser, argv, SubmitOptions)
    check_effects(parser, argv, options, Dependent(("frames", "anomalies"), options.format == "json", "--format json"))
    return options


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "submit",
        f"Send recordings to a service (`audiosieve serve`) and print their scores. Set {KEY_VARIABLE} if it needs a key. "
        "The exit status is 1 if a recording has no score.",
    )
    add, further = parser.add_argument, parser.further.add_argument
    add("files", nargs="+", type=existing_file, metavar="FILE", help="recordings")
    add("--url", type=_service_url, default="http://127.0.0.1:8000", help="address of the service")
    add(
        "--format",
        choices=FORMATS,
        default="table",
        help="table, or json: one line for each recording, printed at once",
    )
    add("--frames", action="store_true", help="include the frame scores, with --format json")
    add("--anomalies", action="store_true", help="include the anomalies, with --format json")
    add(
        "--channels",
        type=channels(advice="send the channels one by one"),
        default=AUTO,
        help=f"channels to score: {AUTO} (mean of all, or the best one where they differ), {MIX} (always the mean), {FIRST}, "
        "or the number of a channel from 0",
    )
    further(
        "--at_a_time",
        type=positive_int,
        default=8,
        help="number of requests in flight; the service scores them in batches",
    )
    further("--timeout_s", type=number(over=0), default=600.0, help="longest wait for a response, in seconds")
    further(
        "--patience_s",
        type=number(at_least=0),
        default=120.0,
        help="longest time of retries in seconds, while the service is full or unreachable",
    )
    return parser


def _service_url(text: str) -> SplitResult:
    """Parses the address of a service."""
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and url.hostname and not url.query and url.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ArgumentTypeError(f"is {text!r}; must be like http://127.0.0.1:8000")
    return url
