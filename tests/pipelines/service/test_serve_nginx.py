"""Two workers of the service behind the real nginx, all on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pipelines.service.nginx import MIN_CONNECTIONS, PASSED_ON
from pipelines.service.settings import ServeOptions
from tests.pipelines.service.test_serve_limits import open_request, until
from tests.support.command import Output, audiosieve
from tests.support.web.service import Server, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None, reason="nginx is not installed"
    ),
]


def ports(server: Server) -> list[int]:
    """The workers' ports."""
    return [int(port) for port in re.findall(r"\d+", server.said.partition("workers on ports")[2])]


def process_of(server: Server, port: int) -> int:
    """The process id of the worker on a port."""
    children = subprocess.run(
        ["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    for child in children:
        if f"--port\0{port}\0" in Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8"):
            return int(child)
    raise AssertionError(f"there is no worker on {port}")


def metric(port: int, name: str) -> float:
    """A metric of a worker, summed over its labels."""
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}[ {{]", line))


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=60).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    limits = ("--max_mb", 4, "--max_wait_ms", 50, "--max_silence_s", 3, "--hosts", "score.example.com")
    with serving("--workers", 2, "--rate", 0, *limits) as started:
        yield started


def test_only_the_own_page_and_clients_score(server: Server, samples: Path):
    body = (samples / "clean.flac").read_bytes()
    for headers, expected in (
        ({"origin": server.url}, 200),  # the page of nginx, whose port the workers do not have
        ({"host": "score.example.com", "origin": "https://score.example.com"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://127.0.0.1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
    ):
        assert server.client.post("/v1/score", content=body, headers=headers).status_code == expected, headers
    assert server.client.get("/v1/model", headers={"host": "evil.example"}).status_code == 403


def test_scores_are_those_of_the_batch_pipeline(server: Server, samples: Path, sample_run: Output):
    for name, score in sample_run.scores.items():
        assert server.score(samples / name).json()["score"] == pytest.approx(score, abs=1e-3)
    assert server.score(samples / "corrupt.flac").json()["reason"] == "corrupt"
    form = server.client.post("/v1/score", files={"f": ("a.flac", (samples / "clean.flac").read_bytes())})
    assert form.json()["results"][0]["utterance_id"] == "a.flac"


def test_all_else_is_the_services_too_but_for_the_counters_of_each_worker(server: Server):
    assert server.client.get("/v1/model").status_code == server.client.get("/readyz").status_code == 200
    assert "default-src 'none'" in server.client.get("/").headers["content-security-policy"]
    found = server.client.get("/metrics")
    assert (found.status_code, found.json()["reason"]) == (404, "not_found")


def test_all_options_but_those_of_nginx_are_the_workers_too():
    assert {field.name for field in dataclasses.fields(ServeOptions)} - set(PASSED_ON) == {
        "host",
        "port",
        "workers",
        "rate",
    }


def test_what_nginx_refuses_is_a_problem_too(server: Server):
    found = server.score(bytes(5 << 20))
    assert found.status_code == 413
    assert found.headers["content-type"] == "application/problem+json"
    assert (found.json()["reason"], found.json()["status"]) == ("upload_too_large", 413)


def test_a_slow_upload_takes_no_place_in_a_worker(server: Server):
    with open_request(server, "Content-Length: 100000", bytes(50_000)):
        time.sleep(1)
        assert [metric(port, "audiosieve_requests_inside") for port in ports(server)] == [0, 0]


def test_one_address_cannot_take_all_connections_by_slow_uploads(samples: Path):
    with serving("--workers", 2, "--rate", 10, "--max_wait_ms", 5) as server, contextlib.ExitStack() as stack:
        for _ in range(MIN_CONNECTIONS):
            stack.enter_context(open_request(server, "Content-Length: 1000", b"RIFF"))
            time.sleep(0.1)  # below the rate
        until(lambda: server.score(samples / "clean.flac").status_code == 429)
        assert server.client.get("/readyz").status_code == 200
        stack.close()
        until(lambda: server.score(samples / "clean.flac").status_code == 200)


def test_an_upload_that_stops_is_given_up(server: Server):
    with open_request(server, "Content-Length: 1000", b"RIFF") as connection:
        connection.settimeout(20)  # nginx's own timeout would come later
        assert connection.recv(65_536) == b"", "nginx gives no answer: it closes the connection"


async def load(url: str, body: bytes, clients: int, stop: Callable[[], bool]) -> list[int]:
    """Asks with so many clients until it is to stop; the status of each answer, 0 for none."""
    found: list[int] = []

    async def ask(client: httpx.AsyncClient) -> None:
        while not stop():
            try:
                found.append((await client.post("/v1/score", content=body)).status_code)
            except httpx.TransportError:
                found.append(0)

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=300, limits=limits) as client:
        await asyncio.gather(*(ask(client) for _ in range(clients)))
    return found


def test_when_a_worker_is_killed_under_load_no_request_fails_and_it_comes_back(server: Server, samples: Path):
    victim, other = ports(server)
    body = (samples / "clean.flac").read_bytes()
    killed: dict[str, float] = {}

    async def kill() -> None:
        while metric_now := await asyncio.to_thread(metric, victim, "audiosieve_requests_inside"):
            killed["inside"] = metric_now
            if metric_now >= 3:
                break
        os.kill(process_of(server, victim), signal.SIGKILL)
        killed["at"] = time.monotonic()

    async def scene() -> list[int]:
        asking = asyncio.create_task(
            load(server.url, body, 16, lambda: "at" in killed and time.monotonic() > killed["at"] + 4)
        )
        await asyncio.sleep(2)
        await kill()
        return await asking

    found = asyncio.run(scene())
    assert killed["inside"] >= 3, "requests were in flight on it"
    assert len(found) > killed["inside"]
    assert set(found) == {200}, {status: found.count(status) for status in set(found)}
    until(lambda: f"the worker on port {victim} exited with status -9; restarting it" in server.stderr)
    until(lambda: is_ready(victim))
    before = [metric(port, "audiosieve_recordings_total") for port in (victim, other)]
    ends = time.monotonic() + 4
    assert set(asyncio.run(load(server.url, body, 8, lambda: time.monotonic() > ends))) == {200}
    after = [metric(port, "audiosieve_recordings_total") for port in (victim, other)]
    assert all(b > a for a, b in zip(before, after, strict=True)), "both work again"


def test_a_request_in_flight_on_a_killed_worker_is_answered_by_another(samples: Path, sample_run: Output):
    with serving("--workers", 2, "--rate", 0, "--max_wait_ms", 5_000) as server:
        body = (samples / "clean.flac").read_bytes()
        connection = open_request(server, f"Content-Length: {len(body)}", body)
        until(lambda: any(metric(port, "audiosieve_queue_recordings") for port in ports(server)))
        (victim,) = [port for port in ports(server) if metric(port, "audiosieve_queue_recordings")]
        os.kill(process_of(server, victim), signal.SIGKILL)
        answer = connection.recv(65_536).decode()
        connection.close()
        assert answer.startswith("HTTP/1.1 200")
        assert json.loads(answer.partition("\r\n\r\n")[2])["score"] == pytest.approx(
            sample_run.scores["clean.flac"], abs=1e-3
        )
        # Its end, too.
        assert server.stop(signal.SIGTERM) == 0
        assert list(server.folder.iterdir()) == []


def test_more_requests_than_the_rate_allows_are_turned_away_and_all_goes_with_its_parent(samples: Path):
    with serving("--workers", 2, "--rate", 1) as server:
        found = [server.score(samples / "clean.flac") for _ in range(8)]
        assert {answer.status_code for answer in found} == {200, 429}
        turned = next(answer for answer in found if answer.status_code == 429)
        assert turned.headers["content-type"] == "application/problem+json"
        assert turned.headers["retry-after"] == "1"
        assert turned.json()["reason"] == "too_many_requests"
        done = audiosieve("submit", *[samples / "clean.flac"] * 5, "--url", server.url, "--format", "json")
        assert done.stdout.count('"score":') == 5, "the client comes again when it is told to"
        processes = [process_of(server, port) for port in ports(server)]
        server.process.kill()
        server.process.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))


def test_a_port_that_is_taken_is_refused_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "cannot listen there" in audiosieve("serve", "--workers", 2, "--port", port, status=2).stderr


def test_without_nginx_several_workers_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert "--workers 2 needs nginx" in audiosieve("serve", "--workers", 2, status=2).stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--workers", 0], "--workers is 0; must be at least 1"), (["--rate", -1], "--rate is -1; must be at least 0")],
)
def test_what_cannot_be_is_refused(options, message):
    assert message in audiosieve("serve", *options, status=2).stderr
