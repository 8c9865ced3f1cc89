"""Uploads and their limits, without a model or a connection."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from pipelines.service.capacity import CapacityError, CapacityLimit
from pipelines.service.problems import Problem
from pipelines.service.settings import Settings
from pipelines.service.uploads import received
from transforms.errors import AudioFault, Reason, Stage

LIMIT = 1_000
FORM = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n%s\r\n--x--\r\n'
HEADERS = {False: {}, True: {"content-type": "Multipart/Form-Data; boundary=x"}}
LEFT, SILENT = "left", "silent"


def receive_all(
    chunks: Sequence[bytes | str], capacity: CapacityLimit, headers: dict[str, str], **limits: Any
) -> list[bytes]:
    """Receives an upload that arrives in chunks, and checks the capacity in use; returns the contents of its files."""
    coming = iter(chunks)

    async def receive() -> dict[str, Any]:
        chunk = next(coming, b"")
        if chunk == SILENT:
            await asyncio.Event().wait()
        if chunk == LEFT:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    scope = {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    settings = dataclasses.replace(Settings(), max_upload_bytes=LIMIT, **limits)

    async def scene() -> list[bytes]:
        async with received(Request(scope, receive), settings, capacity, "name") as uploads:
            assert capacity.used == sum(map(len, chunks))
            found = [upload.file.read() for upload in uploads.files]
            assert [upload.size_bytes for upload in uploads.files] == [len(one) for one in found]
            return found

    return asyncio.run(scene())


@pytest.mark.parametrize("form", [False, True])
def test_an_upload_is_received_and_its_capacity_released(form):
    capacity = CapacityLimit(LIMIT)
    body = FORM % b"hello" if form else b"hello"
    assert receive_all([body[:4], body[4:]], capacity, HEADERS[form]) == [b"hello"]
    assert capacity.used == 0


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("over", [0, 1])
def test_a_body_of_the_limit_is_accepted_and_one_more_byte_refused(stated, over):
    capacity, chunks = CapacityLimit(10 * LIMIT), [bytes(400), bytes(LIMIT - 400 + over)]
    headers = {"content-length": str(LIMIT + over)} if stated else {}
    if not over:
        assert receive_all(chunks, capacity, headers) == [bytes(LIMIT)]
    else:
        with pytest.raises(Problem, match="413 upload_too_large"):
            # With a content length, the body is refused before a byte is read.
            receive_all([SILENT] if stated else chunks, capacity, headers)
    assert capacity.used == 0


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([bytes(5), LEFT], ClientDisconnect),
        ([bytes(5), SILENT], Problem),
        ([bytes(700), bytes(700)], Problem),
        ([bytes(301)], CapacityError),
    ],
)
def test_a_failed_upload_releases_its_capacity(form, chunks, error):
    capacity = CapacityLimit(2 * LIMIT)
    capacity.acquire(2 * LIMIT - 300 if error is CapacityError else 3)
    before = capacity.used
    head = [] if error is CapacityError or not form else [FORM.partition(b"%s")[0]]
    with pytest.raises(error):
        receive_all([*head, *chunks], capacity, HEADERS[form], max_silence_s=0.05)
    assert capacity.used == before


def receive_slowly(chunk: bytes, chunks: int, form: bool, **limits: Any) -> list[bytes]:
    """Receives an upload that arrives in equal chunks, one every 20 ms."""
    head, _, tail = FORM.partition(b"%s") if form else (b"", b"", b"")
    coming = iter([head, *[chunk] * chunks, tail, b""] if form else [*[chunk] * chunks, b""])

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        part = next(coming)
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    async def scene() -> list[bytes]:
        scope = {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in HEADERS[form].items()]}
        settings = dataclasses.replace(Settings(), max_silence_s=0.5, **limits)
        capacity = CapacityLimit(10 * LIMIT)
        try:
            async with received(Request(scope, receive), settings, capacity, None) as uploads:
                return [upload.file.read() for upload in uploads.files]
        finally:
            assert capacity.used == 0

    return asyncio.run(scene())


@pytest.mark.parametrize("form", [False, True])
def test_an_upload_that_trickles_is_ended(form):
    with pytest.raises(Problem, match=r"408 upload_timeout: only \d+ bytes arrived in \d s; after 0.5 s, .* 1 kB/s"):
        receive_slowly(b"x", 1_000, form, min_upload_rate=1_000.0)


@pytest.mark.parametrize(("chunk", "rate"), [(bytes(100), 1_000.0), (b"x", 0.0)])
def test_an_upload_may_take_long_if_it_is_fast_enough_or_there_is_no_limit(chunk, rate):
    assert receive_slowly(chunk, 50, False, min_upload_rate=rate) == [50 * chunk]


@pytest.mark.parametrize(("files", "taken"), [(3, True), (4, False)])
def test_the_files_of_a_form_are_limited(files, taken):
    part = (FORM % b"hello").partition(b"--x--")[0]
    body, capacity = [part * files + b"--x--\r\n"], CapacityLimit(LIMIT)
    if taken:
        assert receive_all(body, capacity, HEADERS[True], max_files=3) == [b"hello"] * 3
    else:
        with pytest.raises(Problem, match="400 bad_form"):
            receive_all(body, capacity, HEADERS[True], max_files=3)
    assert capacity.used == 0


def test_each_reason_has_its_status():
    statuses = {reason: Problem.of(AudioFault(Stage.DECODE, reason, ""), None).status for reason in Reason}
    others = {reason: status for reason, status in statuses.items() if status != 422}
    assert others == {
        Reason.EMPTY_FILE: 400,
        Reason.TOO_LONG: 413,
        Reason.UNSUPPORTED_FORMAT: 415,
        Reason.UNSUPPORTED_RATE: 415,
        Reason.MODEL_FAILED: 500,
    }
