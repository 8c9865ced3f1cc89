"""Answers the requests of Hugging Face's client for one dataset, on loopback; only for reading."""

from __future__ import annotations

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.web.loopback import LoopbackServer

DATASET = "someone/speech"


class HuggingFaceHub(LoopbackServer):
    """The dataset `DATASET`.

    Attributes:
        files: contents by path.
        requests: requests, in order.
        endpoint: address, for `HF_ENDPOINT`.
        gated: whether the dataset can only be read by users who were let in.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.gated = False
        super().__init__(_handler(self))
        self.endpoint = self.address

    def tree(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        """Returns the entries of a folder."""
        prefix = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for name in sorted(self.files):
            if name.startswith(prefix):
                parts = name.removeprefix(prefix).split("/")
                for depth in range(1, len(parts)):
                    if recursive or depth == 1:
                        path = prefix + "/".join(parts[:depth])
                        found[path] = {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
                if recursive or len(parts) == 1:
                    found[name] = self.entry(name)
        return list(found.values())

    def entry(self, name: str) -> dict[str, Any]:
        """Returns the entry of a file."""
        content = self.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _handler(hub: HuggingFaceHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, content: Any, status: int = 200, **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            path = unquote(url.path)
            hub.requests.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if hub.gated:
                self.answer({"error": "Access to this dataset is restricted."}, 403, X_Error_Code="GatedRepo")
            elif re.fullmatch(rf"/api/datasets/{DATASET}(/revision/main)?", path):
                self.answer(
                    {
                        "id": DATASET,
                        "sha": "1" * 40,
                        "siblings": [],
                        "private": False,
                        "tags": [],
                        "downloads": 0,
                        "likes": 0,
                    }
                )
            elif tree := re.fullmatch(rf"/api/datasets/{DATASET}/tree/main/?(.*)", path):
                found = hub.tree(tree[1], "recursive=true" in url.query.lower())
                self.answer(found) if found else self.answer({"error": "x"}, 404, X_Error_Code="EntryNotFound")
            elif path == f"/api/datasets/{DATASET}/paths-info/main":
                asked = (
                    json.loads(body)["paths"]
                    if body[:1] == b"{"
                    else [
                        unquote(part[6:]).replace("+", " ")
                        for part in body.decode().split("&")
                        if part.startswith("paths=")
                    ]
                )
                found = [hub.entry(name) for name in asked if name in hub.files]
                found += [
                    entry
                    for name in asked
                    for entry in hub.tree(name.rpartition("/")[0], False)
                    if entry["type"] == "directory" and entry["path"] == name
                ]
                self.answer(found)
            elif (file := re.fullmatch(rf"/datasets/{DATASET}/resolve/main/(.*)", path)) and file[1] in hub.files:
                content = hub.files[file[1]]
                if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                    first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
                    self.answer(content[first : last + 1], 206, Content_Range=f"bytes {first}-{last}/{len(content)}")
                else:
                    self.answer(content)
            else:
                self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

        do_POST = do_HEAD = do_GET  # noqa: N815 -- the base class's names

    return Handler
