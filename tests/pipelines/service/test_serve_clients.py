"""The service and clients that must get nothing: pages of other sites, and uploads that trickle."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.pipelines.service.test_serve_limits import answer_of, open_request, until
from tests.support.command import audiosieve
from tests.support.web.service import PATIENCE_S, Server, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    options = ("--queue", 1, "--max_silence_s", 2, "--min_kb_s", 10, "--hosts", "score.example.com")
    with serving(*options) as started:
        yield started


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "score.example.com", "origin": "https://score.example.com"}, 200),
        ({"origin": "https://score.example.com"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"}, 403),
    ],
)
@pytest.mark.parametrize("form", [False, True])
def test_only_the_own_page_and_clients_score(server, samples, headers, expected, form):
    body = (samples / "clean.flac").read_bytes()
    content = {"files": {"f": ("a.flac", body)}} if form else {"content": body}
    found = server.client.post("/v1/score", headers=headers, **content)
    assert found.status_code == expected, found.text
    if expected == 403:
        assert found.headers["content-type"] == "application/problem+json"
        assert found.json()["reason"] in ("cross_site", "unknown_host")


def test_the_page_of_the_service_is_of_its_own_origin(server, samples):
    found = server.client.post(
        "/v1/score", content=(samples / "clean.flac").read_bytes(), headers={"origin": server.url}
    )
    assert found.status_code == 200


def test_a_rebound_name_reads_nothing(server):
    for path in ("/", "/v1/model", "/metrics", "/openapi.json"):
        assert server.client.get(path, headers={"host": "evil.example:8000"}).status_code == 403, path
        assert server.client.get(path).status_code == 200, path
    assert server.client.get("/healthz", headers={"host": "lb.example"}).status_code == 200


def test_a_refused_upload_is_not_read(server):
    head = "Content-Length: 100000000\r\nOrigin: https://evil.example"
    with open_request(server, head, b"RIFF") as connection:
        status, text = answer_of(connection)
    assert (status, "cross_site" in text) == (403, True)


@pytest.mark.parametrize("head", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_an_upload_that_trickles_loses_its_place(server, samples, head):
    chunk = b"x" if "Length" in head else b"1\r\nx\r\n"
    with open_request(server, head) as connection:
        until(lambda: server.metric("audiosieve_requests_inside") == 1)
        assert server.score(samples / "clean.flac").status_code == 503
        started = time.monotonic()
        connection.settimeout(0.2)
        answer = b""
        # The head and the body of an answer may arrive one after the other.
        while b"upload_timeout" not in answer and time.monotonic() < started + PATIENCE_S:
            try:
                answer += connection.recv(65_536)
            except TimeoutError:
                if not answer:
                    connection.sendall(chunk)
        took = time.monotonic() - started
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert b"upload_timeout" in answer
    assert took < 30
    until(lambda: server.metric("audiosieve_requests_inside") == 0)
    assert server.score(samples / "clean.flac").status_code == 200


def test_a_service_with_keys_has_any_name(samples):
    key = "correct-horse-battery-staple"
    with serving(environment={"AUDIOSIEVE_API_KEYS": key}) as server:
        headers = {"authorization": f"Bearer {key}", "host": "score.example.org"}
        body = (samples / "clean.flac").read_bytes()
        assert server.client.post("/v1/score", content=body, headers=headers).status_code == 200
        other = {**headers, "origin": "https://evil.example"}
        assert server.client.post("/v1/score", content=body, headers=other).status_code == 403


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min_kb_s", -1], "--min_kb_s is -1; must be at least 0"),
        (["--hosts", "https://a.example"], "--hosts is 'https://a.example'; 'https://a.example' is not a host name"),
        (["--hosts", "a.example:80"], "is not a host name, without scheme and port"),
    ],
)
def test_invalid_options_are_refused(options, message):
    assert message in audiosieve("serve", *options, status=2).stderr


def test_a_client_of_an_unknown_name_is_told_the_option(server):
    found = httpx.get(f"{server.url}/v1/model", headers={"host": "lab.example"}, trust_env=False)
    assert "start it with --hosts NAME" in found.json()["detail"]
