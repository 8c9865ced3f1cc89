"""The service under hostile files, oversized requests and more load than its capacity."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest

from pipelines.serve import is_loopback
from pipelines.service.responses import ProblemOut
from tests.pipelines.service.test_serve import assert_nothing_written, together
from tests.support.command import audiosieve
from tests.support.web.hostile_files import RATE, bomb, encode, fuzzed, hostile, noise
from tests.support.web.service import PATIENCE_S, Server, serving
from transforms.audio.decode import decode_spans
from transforms.audio.span_reader import Decoded
from transforms.errors import AudioFault

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """A service with low limits that waits long for batches."""
    options = ("--queue", 2, "--max_mb", 2, "--max_s", 30, "--queue_frames", 2_000, "--max_wait_ms", 4_000)
    with serving(*options, "--max_silence_s", 3) as started:
        yield started


def until(holds: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < ends, "the condition never held"
        time.sleep(0.02)


def open_request(server: Server, head: str, body: bytes = b"") -> socket.socket:
    """Sends the head and the first bytes of a request; the test sends the rest."""
    host, port = re.fullmatch(r"http://([^:/]+):(\d+)", server.url).groups()  # type: ignore[union-attr]
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    connection.sendall(f"POST /v1/score HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
    return connection


def answer_of(connection: socket.socket) -> tuple[int, str]:
    """Returns the status and the text of a response."""
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length and len(body) >= int(length[1]):
            break
    return int(received.split()[1]), received.decode()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return hostile()


class TestHostileFiles:
    def test_each_is_a_problem_with_the_reason_of_its_reject(self, server, files):
        for name, data in files.items():
            found = server.score(data)
            assert 400 <= found.status_code < 500, (name, found.text)
            assert found.headers["content-type"] == "application/problem+json"
            problem = found.json()
            ProblemOut.model_validate(problem)
            try:
                ((_, _, heard),) = decode_spans(io.BytesIO(data), max_s=3600)
            except AudioFault as fault:
                heard = fault
            assert isinstance(heard, AudioFault), name
            assert (problem["stage"], problem["reason"], problem["detail"]) == (
                heard.stage,
                heard.reason,
                heard.detail,
            ), name
        assert "Traceback" not in server.stderr
        assert_nothing_written(server)

    def test_each_is_a_problem_in_a_form_too(self, server, files):
        for name, data in files.items():
            found = server.client.post("/v1/score", files={"file": (name, data)})
            assert 400 <= found.status_code < 500, (name, found.text)
            assert found.json()["utterance_id"] == name

    def test_damaged_files_of_every_format_are_decoded_or_refused_as_in_a_corpus(self, server):
        files = fuzzed(25)
        found = together(server, list(files.values()), at_a_time=64)
        heard = 0
        for (name, data), response in zip(files.items(), found, strict=True):
            try:
                ((_, _, expected),) = decode_spans(io.BytesIO(data))
            except AudioFault as fault:
                expected = fault
            if isinstance(expected, Decoded) and response.status_code == 200:
                heard += 1
                assert response.json()["duration_s"] == pytest.approx(expected.duration_s, abs=1e-4)
            else:
                assert 400 <= response.status_code < 500, (name, response.text)
                if isinstance(expected, AudioFault):
                    assert response.json()["reason"] == expected.reason, name
        assert heard > 20
        assert "Traceback" not in server.stderr  # libmpg123 may print messages
        assert server.client.get("/readyz").status_code == 200

    def test_samples_near_the_range_of_a_float_are_scored_or_refused(self, server):
        for level in (1e-37, 1e-20, 1e10, 1e30, 1e37, 3e38):
            found = server.score(encode(noise(RATE) * level, coding="WAV/FLOAT"))
            assert found.status_code in (200, 422), (level, found.text)

    def test_a_thousand_channels_are_decoded_in_bounded_memory(self, server):
        found = server.score(encode(np.repeat(noise(40_000)[:, np.newaxis], 1000, axis=1), 384_000))
        assert found.status_code == 200
        assert server.metric("process_resident_memory_bytes") < 3 << 30

    def test_a_body_with_a_content_encoding_is_refused(self, server):
        found = server.client.post("/v1/score", content=b"x", headers={"content-encoding": "gzip"})
        assert (found.status_code, found.json()["reason"]) == (415, "content_encoding")


class TestRequestLimits:
    def test_a_content_length_over_the_limit_is_refused_at_once(self, small):
        with open_request(small, "Content-Length: 999999999") as connection:
            status, text = answer_of(connection)
        assert status == 413
        assert "upload_too_large" in text

    def test_a_chunked_body_over_the_limit_is_refused_during_the_upload(self, small):
        def chunks() -> Iterator[bytes]:
            for _ in range(40):
                yield bytes(100_000)

        found = small.client.post("/v1/score", content=chunks())
        assert (found.status_code, found.json()["reason"]) == (413, "upload_too_large")
        until(lambda: small.metric("audiosieve_requests_inside") == 0)

    def test_a_recording_that_is_too_long_is_refused(self, small):
        found = small.score(encode(noise(31 * RATE), coding="FLAC/PCM_16"))
        assert (found.status_code, found.json()["reason"], found.json()["stage"]) == (413, "too_long", "decode")
        assert "longer than the limit of 30 s" in found.json()["detail"]

    def test_a_small_file_of_many_hours_costs_little(self, small):
        data = bomb(2.0)
        assert len(data) < 2 << 20
        found = small.score(data)
        assert (found.status_code, found.json()["reason"]) == (413, "too_long")

    def test_too_many_files_are_refused(self, server):
        found = server.client.post("/v1/score", files=[("f", (f"{n}.wav", b"x")) for n in range(33)])
        assert (found.status_code, found.json()["reason"]) == (400, "bad_form")

    def test_an_upload_that_stalls_is_ended(self, small):
        with open_request(small, "Content-Length: 1000", b"RIFF") as connection:
            status, text = answer_of(connection)
        assert status == 408
        assert "upload_timeout" in text


class TestCapacity:
    def test_a_full_service_refuses_requests_until_one_ends(self, small, samples):
        waiting = [open_request(small, "Content-Length: 1000", b"RIFF") for _ in range(2)]
        until(lambda: small.metric("audiosieve_requests_inside") == 2)
        found = small.score(samples / "clean.flac")
        assert (found.status_code, found.json()["reason"]) == (503, "full")
        assert 1 <= int(found.headers["retry-after"]) <= 60
        assert small.client.get("/readyz").status_code == 503
        assert small.client.get("/healthz").status_code == 200
        waiting.pop().close()
        until(lambda: small.metric("audiosieve_requests_inside") == 1)
        assert small.client.get("/readyz").status_code == 200
        assert small.score(samples / "clean.flac").status_code == 200
        waiting.pop().close()
        until(lambda: small.metric("audiosieve_requests_inside") == 0)

    def test_a_disconnect_removes_the_recording_from_the_queue(self, small, samples):
        body = (samples / "clean.flac").read_bytes()
        connection = open_request(small, f"Content-Length: {len(body)}", body)
        until(lambda: small.metric("audiosieve_queue_recordings") == 1)
        frames = small.metric("audiosieve_queue_frames")
        calls = small.metric("audiosieve_batch_recordings_count")
        assert 0 < frames < 253  # without the silence at the end
        connection.close()
        until(lambda: small.metric("audiosieve_queue_recordings") == 0)
        until(lambda: small.metric("audiosieve_requests_inside") == 0)
        assert small.metric("audiosieve_batch_recordings_count") == calls

    def test_the_frames_in_the_queue_are_limited(self, small):
        one = encode(noise(25 * RATE))  # 1,561 frames, of a limit of 2,000
        found = together(small, [one, one])
        assert sorted(answer.status_code for answer in found) == [200, 503]

    def test_the_files_of_a_form_wait_for_each_other(self, small):
        one = encode(noise(25 * RATE), coding="FLAC/PCM_16")  # as above: no two fit at the same time
        found = small.client.post("/v1/score", files=[("f", (f"{n}.flac", one)) for n in range(3)])
        assert found.status_code == 200, found.text
        assert len({result["score"] for result in found.json()["results"]}) == 1
        assert small.metric("audiosieve_queue_frames") == 0

    def test_a_full_disk_refuses_only_requests_that_need_it(self, samples):
        with serving() as server:
            subprocess.run(["prlimit", "--pid", str(server.process.pid), "--fsize=2000000"], check=True)
            large = encode(noise(100 * RATE))
            for found in (server.score(large), server.client.post("/v1/score", files={"f": ("a.wav", large)})):
                assert (found.status_code, found.json()["reason"]) == (503, "full")
            assert server.score(samples / "clean.flac").status_code == 200
            assert "File too large" in server.stderr
            assert server.metric("audiosieve_requests_inside") == 0

    def test_a_disconnect_stops_decoding(self, server):
        body = bomb(0.9)  # within the limits, so decoding would go on to the end
        connection = open_request(server, f"Content-Length: {len(body)}", body)
        until(lambda: server.metric("audiosieve_requests_inside") == 1)
        connection.close()
        until(lambda: server.metric("audiosieve_requests_inside") == 0)
        assert_nothing_written(server)

    def test_a_short_recording_does_not_wait_for_a_long_one(self, server, samples):
        clean = np.tile(noise(4 * RATE), 300)  # 20 minutes
        answers = {}
        long = threading.Thread(
            target=lambda: answers.update(long=server_score(server, encode(clean, coding="FLAC/PCM_16")))
        )
        long.start()
        until(lambda: server.metric("audiosieve_queue_frames") > 70_000)
        for _ in range(3):
            assert server.score(samples / "clean.flac").status_code == 200
        assert server.metric("audiosieve_queue_frames") > 70_000, "the long one was done before"
        long.join()
        assert answers["long"].json()["num_frames"] == 74_999


def server_score(server: Server, body: bytes) -> httpx.Response:
    """Scores a body like `Server.score`, from another thread."""
    return httpx.post(f"{server.url}/v1/score", content=body, timeout=PATIENCE_S, trust_env=False)


class TestShutdown:
    def test_sigterm_finishes_open_requests_and_accepts_no_more(self, samples):
        with serving("--max_wait_ms", 3_000) as server:
            found = []
            asking = threading.Thread(
                target=lambda: found.append(server_score(server, (samples / "clean.flac").read_bytes()))
            )
            asking.start()
            until(lambda: server.metric("audiosieve_queue_recordings") == 1)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: refused(server))
            asking.join()
            assert found[0].status_code == 200
            assert server.process.wait(PATIENCE_S) == 0
            assert server.stderr == ""
            assert list(server.folder.iterdir()) == []

    def test_sigterm_while_the_model_is_loaded_leaves_nothing_behind(self, tmp_path):
        words = [sys.executable, "-m", "pipelines.cli", "serve", "--port", "0"]
        process = subprocess.Popen(words, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE)
        until(lambda: any(tmp_path.iterdir()))
        process.terminate()
        said, _ = process.communicate()
        assert (process.returncode, said) == (0, b"")
        assert list(tmp_path.iterdir()) == []

    def test_sigint_ends_the_service(self):
        with serving() as server:
            assert server.stop(signal.SIGINT) == 0
            assert server.stderr == ""


def refused(server: Server) -> bool:
    try:
        open_request(server, "Content-Length: 0").close()
    except ConnectionRefusedError:
        return True
    return False


KEY = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    with serving(environment={"AUDIOSIEVE_API_KEYS": f"another-key-of-length, {KEY}"}) as started:
        yield started


class TestKeys:
    @pytest.mark.parametrize("path", ["/v1/score", "/v1/model", "/metrics"])
    @pytest.mark.parametrize(
        "header",
        [
            None,
            "Bearer wrong-key-of-that-length",
            "Basic Zm9vOmJhcg",
            f"Bearer {KEY}x",
            f"Bearer {KEY[:-1]}",
            "Bearer",
        ],
    )
    def test_a_request_without_a_valid_key_is_refused(self, locked, path, header):
        headers = {} if header is None else {"authorization": header}
        found = locked.client.request("POST" if path == "/v1/score" else "GET", path, headers=headers)
        assert found.status_code == 401
        assert found.headers["www-authenticate"] == "Bearer"
        assert found.json()["reason"] == "unauthorized"

    def test_each_key_is_accepted(self, locked, samples):
        for key in (KEY, "another-key-of-length"):
            headers = {"authorization": f"Bearer {key}"}
            body = (samples / "clean.flac").read_bytes()
            assert locked.client.post("/v1/score", content=body, headers=headers).status_code == 200
            assert locked.client.get("/metrics", headers=headers).status_code == 200

    def test_health_and_page_need_no_key(self, locked):
        assert all(locked.client.get(path).status_code == 200 for path in ("/healthz", "/readyz", "/", "/openapi.json"))


def test_a_service_whose_queue_fails_ends_with_status_1(samples):
    sabotage = "import pipelines.service.batcher as batcher\nbatcher.cut_batches = lambda *_: 1 / 0"
    with serving(sabotage=sabotage) as server:
        answer = server.score(samples / "clean.flac")
        assert (answer.status_code, answer.json()["reason"]) == (500, "internal_error")
        assert server.process.wait(PATIENCE_S) == 1
        assert "the batcher failed; the service ends" in server.stderr
        assert "ZeroDivisionError" in server.stderr
        assert list(server.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", 99_999], "--port is 99999; must be from 0 to 65535"),
        (["--threads", 0], "--threads is 0; must be at least 1"),
        (["--max_mb", "nan"], "--max_mb is nan; must be a finite number, over 0"),
        (["--max_wait_ms", -1], "--max_wait_ms is -1; must be from 0 to 10000"),
        (["--queue_frames", 10], "--queue_frames is 10: a recording of 3600 s has 225000 frames"),
        (["--model", "nothing"], "no model 'nothing'"),
        (["--host", "192.0.2.1"], "cannot listen there"),
        (["--prot", 1], "unknown option --prot (did you mean --port?)"),
    ],
)
def test_invalid_options_are_refused_at_the_start(options, message):
    assert message in audiosieve("serve", *options, status=2).stderr


def test_invalid_keys_are_refused(monkeypatch):
    monkeypatch.setenv("AUDIOSIEVE_API_KEYS", "a-long-enough-key-of-it,of-15-letters..")
    assert "key 2 must have at least 16" in audiosieve("serve", status=2).stderr


def test_a_port_in_use_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "cannot listen there" in audiosieve("serve", "--port", port, status=2).stderr


def test_a_public_address_without_keys_gets_a_warning(monkeypatch):
    # No machine has this address: the command ends after the warning.
    warning = "WARNING: other machines can use the service on 192.0.2.1 without a key; set keys in AUDIOSIEVE_API_KEYS"
    assert warning in audiosieve("serve", "--host", "192.0.2.1", status=2).stderr
    monkeypatch.setenv("AUDIOSIEVE_API_KEYS", "a-long-enough-key-of-it")
    assert "WARNING" not in audiosieve("serve", "--host", "192.0.2.1", status=2).stderr


def test_only_loopback_addresses_are_private():
    hosts = ("127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0", "::", "192.168.0.1", "a.example")
    assert [host for host in hosts if is_loopback(host)] == ["127.0.0.1", "127.9.9.9", "::1", "localhost"]
