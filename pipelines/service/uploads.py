"""Receives the recordings of a request into spool files, within limits. A recording is the body, or a file of a form.

A small spool file is in memory. A larger one is an unnamed file in the service's private directory, which disappears when it is
closed or the process ends. The file names of a form are never used as paths; they are only returned as ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import AsyncGenerator, AsyncIterator
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pipelines.service.capacity import CapacityLimit
from pipelines.service.problems import Problem
from pipelines.service.settings import Settings

# Largest upload that stays in memory: half a minute of 16 kHz, 16 bits.
SPOOL_BYTES = 1 << 20
MAX_NAME_LETTERS = 255


@dataclasses.dataclass(frozen=True)
class Upload:
    """A recording of a request.

    Attributes:
        name: utterance id from the client; None if the client sends none.
        file: spool file, at its start.
        size_bytes: size of the file, in bytes.
    """

    name: str | None
    file: BinaryIO
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class Uploads:
    """The recordings of a request.

    Attributes:
        files: recordings, at least one.
        is_form: whether they are the files of a form.
    """

    files: list[Upload]
    is_form: bool


@contextlib.asynccontextmanager
async def received(
    request: Request, settings: Settings, spool: CapacityLimit, name: str | None
) -> AsyncIterator[Uploads]:
    """Receives the recordings of a request.

    Args:
        request: the request, whose body is unread.
        settings: limits of the service.
        spool: capacity for the bytes of the body, in use until the block ends.
        name: utterance id of a recording that is sent as the body.

    Raises:
        Problem: the request has no recording, is too large, or arrives too slowly.
        CapacityError: the spool capacity is used up.
        ClientDisconnect: the client disconnected.
    """
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise Problem(415, "content_encoding", f"the body has the content encoding {coding!r}; send the file unencoded")
    body = _Body(request, settings, spool)
    files: list[Upload] = []
    try:
        is_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"
        if is_form:
            await _read_form(request, body, settings, files)
        else:
            await _read_body(body, name, files)
        yield Uploads(files, is_form)
    finally:
        spool.release(body.size)


class _Body:
    """The body of a request, read within limits; `size` is the number of bytes so far."""

    def __init__(self, request: Request, settings: Settings, spool: CapacityLimit) -> None:
        self.size = 0
        self._waited_s = 0.0  # without the time in which the service stores what it has
        self._request, self._settings, self._spool = request, settings, spool
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > settings.max_upload_bytes:
            raise self._too_large()  # before reading a byte

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yields the body in chunks.

        Raises:
            Problem: the body is too large, or arrives too slowly.
            CapacityError: the spool capacity is used up.
            ClientDisconnect: the client disconnected.
        """
        stream = self._request.stream()
        clock = asyncio.get_running_loop().time
        while True:
            started_s = clock()
            try:
                async with asyncio.timeout(min(self._settings.max_silence_s, self._remaining_s())):
                    chunk = await anext(stream, b"")
            except TimeoutError:
                self._waited_s += clock() - started_s
                raise self._too_slow() from None
            self._waited_s += clock() - started_s
            # Only the last chunk of the stream is empty.
            if not chunk:
                return
            self._spool.acquire(len(chunk))
            self.size += len(chunk)
            if self.size > self._settings.max_upload_bytes:
                raise self._too_large()
            yield chunk

    def _remaining_s(self) -> float:
        """Returns the time until the next byte is late, in seconds. A client must not keep its place by single bytes."""
        rate = self._settings.min_upload_rate
        return self._settings.max_silence_s + self.size / rate - self._waited_s if rate else math.inf

    def _too_slow(self) -> Problem:
        settings = self._settings
        if self._remaining_s() > 0:
            detail = f"no byte arrived for {settings.max_silence_s:g} s"
        else:
            detail = (
                f"only {self.size} bytes arrived in {self._waited_s:.0f} s; after {settings.max_silence_s:g} s, an upload must "
                f"have arrived at {settings.min_upload_rate / 1000:g} kB/s on average"
            )
        return Problem(408, "upload_timeout", detail)

    def _too_large(self) -> Problem:
        limit = self._settings.max_upload_bytes
        detail = f"a request may have at most {limit} bytes ({limit / (1 << 20):g} MiB); cut the recording into parts"
        return Problem(413, "upload_too_large", detail)


async def _read_body(body: _Body, name: str | None, files: list[Upload]) -> None:
    file = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 -- closed after decoding
    async for chunk in body.chunks():
        if body.size > SPOOL_BYTES:
            await asyncio.to_thread(file.write, chunk)
        else:
            file.write(chunk)
    file.seek(0)
    files.append(Upload(name, cast(BinaryIO, file), body.size))


async def _read_form(request: Request, body: _Body, settings: Settings, files: list[Upload]) -> None:
    parser = MultiPartParser(
        request.headers, body.chunks(), max_files=settings.max_files, max_fields=settings.max_files
    )
    parser.spool_max_size = SPOOL_BYTES
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(400, "bad_form", f"the form cannot be read: {error.message}") from error
    for _, value in form.multi_items():
        if not isinstance(value, UploadFile):
            raise Problem(422, "bad_form", "the form has a field that is not a file; send each recording as a file")
        name = (value.filename or "")[:MAX_NAME_LETTERS] or None
        files.append(Upload(name, value.file, value.size or 0))
    if not files:
        raise Problem(422, "bad_form", "the form has no file; send each recording as a file")
