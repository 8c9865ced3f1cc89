"""Answers requests for the states of jobs like the API of Dataflow, on loopback."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.web.loopback import LoopbackServer

PROJECT, REGION = "some-project", "europe-west4"


class DataflowService(LoopbackServer):
    """The jobs of one project and region.

    Attributes:
        jobs: jobs, each with id, name, currentState and currentStateTime.
        status: status of all answers.
        endpoint: address, for the option `--dataflow_endpoint`.
    """

    def __init__(self) -> None:
        self.jobs: list[dict[str, str]] = []
        self.status = 200
        super().__init__(_handler(self))
        self.endpoint = self.address

    def add(self, state: str, time: str = "2100-01-01T00:00:00.123456789Z", **job: str) -> None:
        """Adds a job with an id or a name."""
        named = {"id": "2026-11-27_00_00_00-1", "name": "nightly", **job}
        self.jobs.append({**named, "currentState": f"JOB_STATE_{state}", "currentStateTime": time})

    def answer(self, url: str) -> tuple[int, dict[str, Any]]:
        """Returns the status and the body of an answer. A list has one job on each page."""
        if self.status != 200:
            return self.status, {"error": {"message": "the caller does not have permission"}}
        parts = urlsplit(url)
        prefix = f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
        if parts.path == prefix:
            query = parse_qs(parts.query)
            named = [job for job in self.jobs if job["name"] == query["name"][0]]
            page = int(query.get("pageToken", ["0"])[0])
            after = {"nextPageToken": str(page + 1)} if page + 1 < len(named) else {}
            return 200, {"jobs": named[page : page + 1], **after}
        found = [job for job in self.jobs if parts.path == f"{prefix}/{job['id']}"]
        return (200, found[0]) if found else (404, {"error": {"message": "there is no such job"}})


def _handler(service: DataflowService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            status, content = service.answer(self.path)
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
