"""A web server with files in memory, which sends ranges, sizes and ETags or not."""

from __future__ import annotations

import hashlib
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

from tests.support.web.loopback import LoopbackServer


class FileServer(LoopbackServer):
    """Serves files, and for paths with a slash at their end a page with links.

    Attributes:
        files: contents by path, without the first slash; a query is part of the path.
        status: statuses other than 200, by path.
        ranges: whether it answers requests for ranges with them.
        sizes: whether it states the size of a file.
        etags: whether it states ETags.
        requests: methods and paths of the requests, in order.
        url: its address, with a slash at its end.
    """

    def __init__(self, ranges: bool = True, sizes: bool = True, etags: bool = True) -> None:
        self.files: dict[str, bytes] = {}
        self.status: dict[str, int] = {}
        self.ranges, self.sizes, self.etags = ranges, sizes, etags
        self.requests: list[tuple[str, str]] = []
        super().__init__(_handler(self))
        self.url = f"{self.address}/"

    def page(self, folder: str) -> bytes | None:
        """Returns the page of a folder; None if nothing is in it."""
        names = {
            name.removeprefix(folder).split("/")[0] + "/" * ("/" in name.removeprefix(folder))
            for name in self.files
            if name.startswith(folder)
        }
        links = "".join(f'<a href="{name}">{name}</a>\n' for name in sorted(names))
        return f"<html>{links}</html>".encode() if names else None


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(self.path.lstrip("/"))
            server.requests.append((self.command, path))
            content = server.page(path) if path.endswith("/") or not path else server.files.get(path)
            if content is None and server.page(f"{path}/"):
                self.send_response(301)
                self.send_header("Location", f"/{path}/")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            status = server.status.get(path, 404 if content is None else 200)
            content = content if content is not None and status == 200 else b"no"
            headers = {"Content-Length": str(len(content))} if server.sizes else {}
            if server.etags and status == 200:
                headers["ETag"] = f'"{hashlib.md5(content).hexdigest()}"'
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted and server.ranges and status == 200:
                first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
                part = content[first : last + 1]
                headers |= {"Content-Length": str(len(part)), "Content-Range": f"bytes {first}-{last}/{len(content)}"}
                status, content = 206, part
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815 -- the base class's name

    return Handler
