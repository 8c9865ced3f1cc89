"""`audiosieve submit`: recordings are sent to a service, and their scores printed."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from pipelines.common.arguments import Parser, UsageError, command
from transforms.analysis.text_tables import aligned
from transforms.elements import EACH, FIRST, MIX, printable

FORMATS = ("table", "json")
# The client's key; the service has AUDIOSIEVE_API_KEYS.
VARIABLE = "AUDIOSIEVE_API_KEY"
# Answers after which it helps to wait.
_LATER = (429, 502, 503)
LONGEST_WAIT_S = 60.0
_BLOCK_BYTES = 1 << 16
_HEAD = ("recording", "score", "worst frame", "length", "remarks")


@command("submit")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, sends the files, some at a time, and prints what comes back; 1 if one has no score."""
    options = _parser().parse_args(argv)
    target = _check(options)
    sender = _Sender(target, options)
    rows, lost = [], 0
    with ThreadPoolExecutor(options.at_a_time) as pool:
        for path, found in zip(options.files, pool.map(sender.send, options.files), strict=True):
            lost += "score" not in found
            if options.format == "json":
                print(json.dumps({"file": path, **found}), flush=True)
            else:
                rows.append(_row(path, found))
    if options.format == "table":
        print(aligned(_HEAD, rows, (False, True, True, True, False)))
    if lost:
        print(f"audiosieve submit: {lost} of {len(options.files)} have no score", file=sys.stderr)
    return 1 if lost else 0


@dataclasses.dataclass(frozen=True)
class _Sender:
    """Sends recordings to one service.

    Attributes:
        target: its address.
        options: of the command.
    """

    target: SplitResult
    options: argparse.Namespace
    _noted: set[str] = dataclasses.field(default_factory=set)

    def send(self, path: str) -> dict[str, Any]:
        """The answer for a file: its score, or a problem; the same if it got no answer at all."""
        options = self.options
        asked = {"utterance_id": printable(Path(path).name)[:255], "channels": options.channels}
        asked |= {name: "true" for name in ("frames", "anomalies") if getattr(options, name)}
        gives_up = time.monotonic() + options.patience_s
        for pause in _pauses():
            try:
                status, retry_after, body = self._post(path, f"/v1/score?{urlencode(asked)}")
            except _UnreadableError as error:
                return _problem("unreadable", str(error))
            except (OSError, http.client.HTTPException) as error:
                status, retry_after, body = 0, None, f"{self.target.netloc}: {error or type(error).__name__}".encode()
            stated = retry_after or ""
            wait = min(float(stated), LONGEST_WAIT_S) if stated.isdecimal() else pause
            if status not in (0, *_LATER) or time.monotonic() + wait > gives_up:
                return _read(status, body)
            self._note(f"{body.decode()}; trying again for {options.patience_s:g} s" if not status else "")
            time.sleep(wait)
        raise AssertionError("pauses do not end")

    def _post(self, path: str, asked: str) -> tuple[int, str | None, bytes]:
        kind = http.client.HTTPSConnection if self.target.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.target.hostname or "", self.target.port, timeout=self.options.timeout_s)
        with _reading():
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(Path(path).stat().st_size)}
        if key := os.environ.get(VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        with contextlib.closing(connection):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has enough, and said why
                connection.request("POST", self.target.path.rstrip("/") + asked, _blocks(path), headers)
            answer = connection.getresponse()
            return answer.status, answer.headers["Retry-After"], answer.read()

    def _note(self, text: str) -> None:
        """Says something once, however many recordings it is true of."""
        if text and text not in self._noted:
            self._noted.add(text)
            print(f"audiosieve submit: {text}", file=sys.stderr, flush=True)


class _UnreadableError(Exception):
    """A file cannot be read: trying again helps nothing."""


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Tells what goes wrong with a file, an `_UnreadableError`, from what goes wrong with the network."""
    try:
        yield
    except OSError as error:
        raise _UnreadableError(str(error)) from error


def _blocks(path: str) -> Iterator[bytes]:
    """The bytes of a file."""
    with _reading(), Path(path).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _pauses() -> Iterator[float]:
    """Seconds to wait before each further try, where the service does not say."""
    pause = 0.5
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_WAIT_S)


def _problem(reason: str, detail: str) -> dict[str, Any]:
    return {"reason": reason, "detail": detail}


def _read(status: int, body: bytes) -> dict[str, Any]:
    """The answer as an object; what is no answer of ours becomes a problem."""
    if not status:
        return _problem("unreachable", body.decode(errors="replace"))
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not ("score" in found or "reason" in found):
        return _problem("no_service", f"status {status}, and no answer of an audiosieve service: is the --url right?")
    return found


def _row(path: str, found: dict[str, Any]) -> list[str]:
    if "score" not in found:
        return [path, "-", "-", "-", f"{found['reason']}: {found['detail']}"]
    bad = [f"bad {one['start_s']:.1f}-{one['end_s']:.1f} s" for one in found.get("anomalies") or ()]
    return [
        path,
        f"{found['score']:.2f}",
        f"{found['frame_score_min']:.2f}",
        f"{found['duration_s']:.1f} s",
        ", ".join([*found["flags"], *bad]),
    ]


def _check(options: argparse.Namespace) -> SplitResult:
    """Checks what argparse cannot, and returns the address."""
    target = urlsplit(options.url)
    try:
        if target.scheme not in ("http", "https") or not target.hostname or target.query or target.port == 0:
            raise ValueError
    except ValueError as error:
        raise UsageError(f"--url {options.url}: it must be like http://127.0.0.1:8000") from error
    if options.channels not in (MIX, FIRST) and not options.channels.isdecimal():
        each = "; send them one by one" if options.channels == EACH else ""
        raise UsageError(f"--channels is {options.channels!r}; it must be {MIX}, {FIRST} or a number from 0{each}")
    if options.at_a_time < 1:
        raise UsageError(f"--at_a_time is {options.at_a_time}; it must be at least 1")
    if not 0 < options.timeout_s < float("inf"):
        raise UsageError(f"--timeout_s is {options.timeout_s:g}; it must be a number over 0")
    if not 0 <= options.patience_s < float("inf"):
        raise UsageError(f"--patience_s is {options.patience_s:g}; it must be a number from 0")
    for path in options.files:
        if not Path(path).is_file():
            raise UsageError(f"{path}: {'is a folder; name files' if Path(path).is_dir() else 'there is no such file'}")
    # In a table the remarks tell them.
    options.anomalies = options.anomalies or options.format == "table"
    return target


def _parser() -> Parser:
    parser = Parser(
        "submit",
        "Send recordings to a service (`audiosieve serve`) and print their scores. A key, if the service wants one, is taken "
        f"from {VARIABLE}. The exit status is 1 if a recording has no score.",
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="recordings")
    add("--url", default="http://127.0.0.1:8000", help="of the service")
    add(
        "--format",
        choices=FORMATS,
        default="table",
        help="table, or json: a line for each recording, as soon as it is there",
    )
    add("--frames", action="store_true", help="with --format json: the score of each frame too")
    add("--anomalies", action="store_true", help="with --format json: the bad stretches too")
    add(
        "--channels",
        default=MIX,
        help=f"what is heard: {MIX} (the mean of the channels), {FIRST}, or the number of one",
    )
    add("--at_a_time", type=int, default=8, help="recordings under way together: the service scores them together")
    add("--timeout_s", type=float, default=600.0, help="seconds to wait for an answer")
    add(
        "--patience_s",
        type=float,
        default=120.0,
        help="seconds to try again where the service is full or cannot be reached",
    )
    return parser
