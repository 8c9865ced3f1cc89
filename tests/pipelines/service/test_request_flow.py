"""The way of requests through the service, with the real model and no HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from model.bundle import DEFAULT
from pipelines.service import uploads
from pipelines.service.request_flow import LARGE_BYTES, ScoreRequest, Service
from pipelines.service.settings import Settings
from tests.support.web.hostile_files import RATE, encode, noise
from transforms.scoring.inference import ScorerHandler

pytestmark = pytest.mark.slow
# A recording of 1,561 frames.
SOME = encode(noise(25 * RATE), coding="FLAC/PCM_16")
TIGHT = {"max_audio_s": 30.0, "max_frames": 2_000, "max_wait_s": 1_000.0}


@pytest.fixture(scope="module")
def scorer():
    return ScorerHandler(DEFAULT, threads=None).load_model()


class Client:
    """A client that sends a body and stays connected until `leave`."""

    def __init__(self, service: Service, body: bytes, kind: str = "application/octet-stream") -> None:
        self._body, self._leaves = [body], asyncio.Event()
        scope = {"type": "http", "headers": [(b"content-type", kind.encode())]}
        self.answer = asyncio.create_task(service.score(Request(scope, self._receive), ScoreRequest()))

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            return {"type": "http.request", "body": self._body.pop()}
        await self._leaves.wait()
        return {"type": "http.disconnect"}

    async def leave(self) -> None:
        self._leaves.set()
        with pytest.raises(ClientDisconnect):
            await self.answer


class Held(tempfile.SpooledTemporaryFile):
    """A spool file whose samples, if it is large, cannot be read before `may_be_read` is set; its header can."""

    may_be_read = threading.Event()
    found: list[Held]
    reads = size = 0

    def write(self, data):
        self.size += len(data)
        return super().write(data)

    def readinto(self, buffer):
        if self.size > LARGE_BYTES and len(buffer) > 1_000:
            if not self.reads:
                self.found.append(self)
            self.reads += 1
            self.may_be_read.wait()
        return super().readinto(buffer)


@pytest.fixture
def held(monkeypatch):
    monkeypatch.setattr(uploads, "SpooledTemporaryFile", Held)
    Held.found = []
    Held.may_be_read.clear()
    yield Held
    Held.may_be_read.set()


async def until(holds: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


def at_work(scorer, scene: Callable[[Service], Any], **settings: Any) -> None:
    async def work() -> None:
        service = Service(scorer, dataclasses.replace(Settings(), **settings), on_failure=lambda: None)
        async with asyncio.timeout(90), service.running():
            await scene(service)

    asyncio.run(work())


def test_a_disconnect_releases_the_capacity_of_its_frames(scorer):
    async def scene(service: Service) -> None:
        for _ in range(2):
            client = Client(service, SOME)
            await until(lambda: service.batcher.waiting == (1, 1_561))
            await client.leave()
            assert service.batcher.waiting == (0, 0)

    at_work(scorer, scene, **TIGHT)


def test_a_form_that_waits_for_capacity_decodes_one_file_ahead(scorer):
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + SOME + b"\r\n"

    async def scene(service: Service) -> None:
        def decoded() -> float:
            return service.metrics.registry.get_sample_value("audiosieve_decode_seconds_count") or 0

        client = Client(service, part * 4 + b"--x--\r\n", "multipart/form-data; boundary=x")
        await until(lambda: decoded() == 2)
        await asyncio.sleep(1)
        assert (decoded(), service.batcher.waiting) == (2, (1, 1_561))
        await client.leave()

    at_work(scorer, scene, **TIGHT)


def test_a_large_file_does_not_delay_small_ones_and_is_read_no_further_after_a_disconnect(scorer, held):
    async def scene(service: Service) -> None:
        client = Client(service, encode(noise(100 * RATE)))
        await until(lambda: bool(held.found))
        assert json.loads(await Client(service, SOME).answer)["num_frames"] == 1_561
        await client.leave()
        held.may_be_read.set()
        (file,) = held.found
        await until(lambda: file.closed)
        assert file.reads == 1

    at_work(scorer, scene, decoders=1)
