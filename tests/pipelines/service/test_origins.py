"""Requests of web pages of other sites are refused, and those of clients and of the own page are not."""

from __future__ import annotations

import pytest

from pipelines.service.origins import Origins

SERVICE = Origins(frozenset({"score.example.com"}))


def reason(method: str, origins: Origins = SERVICE, path: str = "/v1/score", **headers: str) -> str | None:
    """Returns the reason of a refusal; None if the request is accepted."""
    found = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    problem = origins.refusal(method, path, found)
    return problem.reason if problem else None


OWN_HOSTS = [
    "127.0.0.1:8000",
    "127.9.9.9",
    "[::1]:8000",
    "192.168.0.7:8000",
    "localhost:8000",
    "LocalHost",
    "app.localhost:8000",
    "gpu1:8000",
    "score.example.com",
    "Score.Example.com.:443",
]
OTHER_HOSTS = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example:8000",
    "score.example.com.evil.example",
    "x.score.example.com",
    "127.0.0.1:8000@evil.example",
    "evil.example/127.0.0.1",
    "",
]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_names_of_the_service_are_accepted(method: str) -> None:
    assert [host for host in OWN_HOSTS if reason(method, host=host)] == []
    assert {host: reason(method, host=host) for host in OTHER_HOSTS} == dict.fromkeys(OTHER_HOSTS, "unknown_host")
    assert reason(method) is None  # HTTP/1.0


def test_a_name_that_leads_to_this_machine_is_refused_though_the_page_is_of_the_same_origin() -> None:
    headers = {"host": "evil.example:8000", "origin": "http://evil.example:8000", "sec_fetch_site": "same-origin"}
    assert reason("POST", **headers) == "unknown_host"
    assert reason("GET", path="/v1/model", host="evil.example:8000") == "unknown_host"


def test_a_service_with_keys_accepts_all_names() -> None:
    locked = Origins(checks_host=False)
    assert reason("POST", locked, host="score.example.org") is None
    assert reason("POST", locked, host="score.example.org", origin="https://score.example.org") is None
    assert reason("POST", locked, host="score.example.org", origin="https://evil.example") == "cross_site"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_use_any_name(path: str) -> None:
    assert reason("GET", path=path, host="lb.example") is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("localhost", "http://localhost"),
        ("LOCALHOST:80", "http://localhost"),
        ("gpu1:443", "https://gpu1"),
        ("score.example.com", "https://score.example.com"),
        ("127.0.0.1:8000", "https://score.example.com"),  # a proxy that changes the host
    ],
)
def test_the_own_page_may_send_recordings(host: str, origin: str) -> None:
    assert reason("POST", host=host, origin=origin, sec_fetch_site="same-origin") is None


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1:3000",
        "http://localhost:8000",
        "http://127.0.0.1:8000.evil.example",
        "https://127.0.0.1",
        "https://score.example.com:3000",
        "http://[::1",
        "http://127.0.0.1:99999",
        "null",
        "",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_pages_of_other_sites_may_not(method: str, origin: str) -> None:
    assert reason(method, host="127.0.0.1:8000", origin=origin) == "cross_site"
    assert reason("GET", host="127.0.0.1:8000", origin=origin) is None  # the browser lets no page read the response


@pytest.mark.parametrize(
    ("site", "expected"), [("cross-site", "cross_site"), ("same-site", "cross_site"), ("none", None)]
)
def test_without_an_origin_the_site_decides(site: str, expected: str | None) -> None:
    assert reason("POST", host="127.0.0.1:8000", sec_fetch_site=site) == expected
    assert reason("GET", path="/", host="127.0.0.1:8000", sec_fetch_site=site) is None  # a link to the page


def test_each_of_several_headers_counts() -> None:
    twice = [(b"host", b"127.0.0.1:8000"), (b"host", b"evil.example")]
    assert SERVICE.refusal("POST", "/v1/score", twice) is not None
    origins = [(b"host", b"127.0.0.1"), (b"origin", b"http://127.0.0.1"), (b"origin", b"https://evil.example")]
    assert SERVICE.refusal("POST", "/v1/score", origins) is not None
