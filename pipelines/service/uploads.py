"""The recordings of a request: its body, or the files of a form. They stream in, under limits, and lie in spool files.

A spool file is in memory while it is small. Beyond that it lies without a name in the service's private directory, and is gone
when it is closed, or with the process. A file's name in a form is data like any other: it is given back, and opens nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pipelines.service.capacity import CapacityLimit
from pipelines.service.problems import Problem
from pipelines.service.settings import Settings

# What is kept in memory of an upload: half a minute of 16 kHz, 16 bits.
SPOOL_BYTES = 1 << 20
# Of a name in a form.
NAME_LETTERS = 255


@dataclasses.dataclass(frozen=True)
class Upload:
    """A recording as it came.

    Attributes:
        name: what the client calls it; None where it does not.
        file: its bytes, from the start.
        size_bytes: how many.
    """

    name: str | None
    file: BinaryIO
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class Uploads:
    """What came with a request.

    Attributes:
        files: one at least.
        form: whether they came in a form.
    """

    files: list[Upload]
    form: bool


@contextlib.asynccontextmanager
async def received(
    request: Request, settings: Settings, spool: CapacityLimit, name: str | None
) -> AsyncIterator[Uploads]:
    """Reads the body of a request.

    Args:
        request: with the body unread.
        settings: the limits.
        spool: room for the bytes, which they take until the block ends.
        name: of what comes as a body.

    Raises:
        Problem: there is no recording in it, or too much, or it comes too slowly.
        FullError: there is no room for it now.
        ClientDisconnect: the client left.
    """
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise Problem(415, "content_encoding", f"the body is coded as {coding!r}; send the file as it is")
    body = _Body(request, settings, spool)
    files: list[Upload] = []
    try:
        form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"
        if form:
            await _read_form(request, body, settings, files)
        else:
            await _read_body(body, name, files)
        yield Uploads(files, form)
    finally:
        spool.give_back(body.size)


class _Body:
    """The bytes of a request's body, counted."""

    def __init__(self, request: Request, settings: Settings, spool: CapacityLimit) -> None:
        self.size = 0
        self._request, self._settings, self._spool = request, settings, spool
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > settings.max_upload_bytes:
            raise self._too_large()  # before a byte of it is read

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """All of it.

        Raises:
            Problem: it is too large, or comes too slowly.
            FullError: there is no room for it.
            ClientDisconnect: the client left.
        """
        stream = self._request.stream()
        while True:
            try:
                async with asyncio.timeout(self._settings.max_silence_s):
                    chunk = await anext(stream, b"")
            except TimeoutError:
                detail = f"nothing came for {self._settings.max_silence_s:g} s"
                raise Problem(408, "upload_timeout", detail) from None
            # The stream's last piece is empty; others are not.
            if not chunk:
                return
            self._spool.take(len(chunk))
            self.size += len(chunk)
            if self.size > self._settings.max_upload_bytes:
                raise self._too_large()
            yield chunk

    def _too_large(self) -> Problem:
        limit = self._settings.max_upload_bytes
        return Problem(413, "upload_too_large", f"a request may have {limit} bytes ({limit / (1 << 20):g} MiB); cut it")


async def _read_body(body: _Body, name: str | None, files: list[Upload]) -> None:
    spooled = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 -- it lives until it is decoded
    async for chunk in body.chunks():
        if body.size > SPOOL_BYTES:
            await asyncio.to_thread(spooled.write, chunk)
        else:
            spooled.write(chunk)
    spooled.seek(0)
    files.append(Upload(name, cast(BinaryIO, spooled), body.size))


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
            raise Problem(422, "bad_form", "the form has a field that is no file: send each recording as a file")
        name = (value.filename or "")[:NAME_LETTERS] or None
        files.append(Upload(name, value.file, value.size or 0))
    if not files:
        raise Problem(422, "bad_form", "the form has no file: send each recording as one")
