"""A proxy before an emulator of Cloud Storage, which counts what is asked for and lets some of it fail."""

from __future__ import annotations

import collections
import contextlib
import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

# What may go wrong beside a status: the connection ends before the answer, or in the middle of it.
RESET, CUT = "reset", "cut"


class Inside(NamedTuple):
    """A batch is answered, and each request in it fails with this status."""

    status: int


Fault = int | str | Inside | None


class Call(NamedTuple):
    """What is asked for.

    Attributes:
        kind: list, stat, read, start (an upload in parts), part (of one), write (in one), batch, copy, delete or bucket.
        name: of the object, where the address has it; of a list the prefix.
    """

    kind: str
    name: str


_KINDS = [
    ("batch", r"POST /batch/"),
    ("start", r"POST /upload/\S*uploadType=resumable"),
    ("part", r"PUT /upload/"),
    ("write", r"POST /upload/"),
    ("copy", r"POST \S*/(?:copyTo|rewriteTo)/"),
    ("read", r"GET (?:/download/|\S*[?&]alt=media)"),
    ("list", r"GET /storage/v1/b/[^/?]+/o(?:\?|$)"),
    ("stat", r"GET /storage/v1/b/[^/?]+/o/"),
    ("delete", r"DELETE "),
    ("bucket", r"\w+ /storage/v1/b"),
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that is gone is no news."""


class Proxy:
    """Passes requests on.

    Attributes:
        address: of the proxy, for `STORAGE_EMULATOR_HOST`.
        calls: what was asked for, in order.
        connections: how many were made.
        sent: bytes of the answers.
        fail: is asked of each call what shall happen instead of an answer: a status, RESET, CUT, Inside, or None.
    """

    def __init__(self, target: str) -> None:
        self.calls: list[Call] = []
        self.connections = self.sent = 0
        self.fail: Callable[[Call], Fault] = lambda _: None
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self, urlsplit(target).netloc))
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind of call came."""
        return dict(collections.Counter(call.kind for call in self.calls))

    def take(self, call: Call) -> Fault:
        """Notes a call and decides on it."""
        with self._lock:
            self.calls.append(call)
            return self.fail(call)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Proxy]:
        """Serves until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def first(times: int, *faults: Fault) -> Callable[[Call], Fault]:
    """Lets the first calls for each object, or of each kind where it names none, fail, with one fault after the other."""
    seen: collections.Counter[Call] = collections.Counter()

    def fail(call: Call) -> Fault:
        seen[call] += 1
        return faults[(seen[call] - 1) % len(faults)] if seen[call] <= times else None

    return fail


def classify(line: str) -> Call:
    """Tells of a request's first words, as `GET /storage/v1/b/x/o`, what is asked for."""
    kind = next(kind for kind, pattern in _KINDS if re.match(pattern, line))
    found = re.search(r"/o/(.+?)(?:\?|/copyTo/|/rewriteTo/|$)", line) or re.search(
        r"[?&](?:name|prefix|upload_id)=([^&]+)", line
    )
    return Call(kind, unquote(found[1]) if found else "")


def _handler(proxy: Proxy, target: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer waits 40 ms for the client to acknowledge its head

        def setup(self) -> None:
            super().setup()
            proxy.connections += 1

        def log_message(self, *_: object) -> None:
            pass

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            call = classify(f"{self.command} {self.path}")
            if call.kind == "write" and not call.name and (named := re.search(rb'"name": ?"([^"]+)"', body[:2_000])):
                call = call._replace(name=named[1].decode())  # an upload in one request has the name in its body
            fault = proxy.take(call)
            if fault == RESET:
                # No farewell: what the other side gets is "connection reset by peer".
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            said = b'{"error": {"message": "as the test asked"}}'
            if isinstance(fault, int):
                self.answer(fault, {"Content-Type": "application/json"}, said)
                return
            if isinstance(fault, Inside):
                head = b"--x\r\nContent-Type: application/http\r\n\r\n"
                part = b"%bHTTP/1.1 %d No\r\nContent-Type: application/json\r\n\r\n%b\r\n" % (head, fault.status, said)
                content = part * body.count(b"Content-Type: application/http") + b"--x--"
                self.answer(200, {"Content-Type": "multipart/mixed; boundary=x"}, content)
                return
            # Where the emulator hangs the client's connection ends with an error, and it asks again.
            upstream = http.client.HTTPConnection(target, timeout=20)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            upstream.request(self.command, self.path, body, headers)
            response = upstream.getresponse()
            content = response.read()
            upstream.close()
            if response.headers.get("Content-Type") == "application/json":
                # The emulator says where a content is to be had: as whoever wrote it knew its address.
                content = content.replace(f"http://{target}".encode(), proxy.address.encode())
            self.answer(response.status, dict(response.getheaders()), content, cut=fault == CUT)

        def answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool = False) -> None:
            proxy.sent += len(content)
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "server", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on  # noqa: N815 -- the base class's names

    return Handler
