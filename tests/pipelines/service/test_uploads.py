"""Uploads under limits, as they come from the server: no model, no connection."""

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


def take(pieces: Sequence[bytes | str], capacity: CapacityLimit, headers: dict[str, str], **limits: Any) -> list[bytes]:
    """What is in an upload that comes in pieces; of the capacity it takes as much as came, and only while the block lasts."""
    coming = iter(pieces)

    async def receive() -> dict[str, Any]:
        piece = next(coming, b"")
        if piece == SILENT:
            await asyncio.Event().wait()
        if piece == LEFT:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    scope = {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    settings = dataclasses.replace(Settings(), max_upload_bytes=LIMIT, **limits)

    async def scene() -> list[bytes]:
        async with received(Request(scope, receive), settings, capacity, "name") as uploads:
            assert capacity.used == sum(map(len, pieces))
            found = [upload.file.read() for upload in uploads.files]
            assert [upload.size_bytes for upload in uploads.files] == [len(one) for one in found]
            return found

    return asyncio.run(scene())


@pytest.mark.parametrize("form", [False, True])
def test_what_came_is_there_and_its_room_is_given_back(form):
    capacity = CapacityLimit(LIMIT)
    body = FORM % b"hello" if form else b"hello"
    assert take([body[:4], body[4:]], capacity, HEADERS[form]) == [b"hello"]
    assert capacity.used == 0


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("over", [0, 1])
def test_as_much_as_the_limit_is_taken_and_a_byte_more_is_not(stated, over):
    capacity, pieces = CapacityLimit(10 * LIMIT), [bytes(400), bytes(LIMIT - 400 + over)]
    headers = {"content-length": str(LIMIT + over)} if stated else {}
    if not over:
        assert take(pieces, capacity, headers) == [bytes(LIMIT)]
    else:
        with pytest.raises(Problem, match="413 upload_too_large"):
            # Where it is stated, not a byte is read.
            take([SILENT] if stated else pieces, capacity, headers)
    assert capacity.used == 0


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([bytes(5), LEFT], ClientDisconnect),
        ([bytes(5), SILENT], Problem),
        ([bytes(700), bytes(700)], Problem),
        ([bytes(301)], CapacityError),
    ],
)
def test_however_it_ends_the_room_is_given_back(form, pieces, error):
    capacity = CapacityLimit(2 * LIMIT)
    capacity.acquire(2 * LIMIT - 300 if error is CapacityError else 3)
    before = capacity.used
    head = [] if error is CapacityError or not form else [FORM.partition(b"%s")[0]]
    with pytest.raises(error):
        take([*head, *pieces], capacity, HEADERS[form], max_silence_s=0.05)
    assert capacity.used == before


@pytest.mark.parametrize(("files", "taken"), [(3, True), (4, False)])
def test_a_form_has_as_many_files_as_it_may(files, taken):
    part = (FORM % b"hello").partition(b"--x--")[0]
    body, capacity = [part * files + b"--x--\r\n"], CapacityLimit(LIMIT)
    if taken:
        assert take(body, capacity, HEADERS[True], max_files=3) == [b"hello"] * 3
    else:
        with pytest.raises(Problem, match="400 bad_form"):
            take(body, capacity, HEADERS[True], max_files=3)
    assert capacity.used == 0


def test_the_status_of_a_fault_says_whose_it_is():
    statuses = {reason: Problem.of(AudioFault(Stage.DECODE, reason, ""), None).status for reason in Reason}
    others = {reason: status for reason, status in statuses.items() if status != 422}
    assert others == {
        Reason.EMPTY_FILE: 400,
        Reason.TOO_LONG: 413,
        Reason.UNSUPPORTED_FORMAT: 415,
        Reason.UNSUPPORTED_RATE: 415,
        Reason.MODEL_FAILED: 500,
    }
