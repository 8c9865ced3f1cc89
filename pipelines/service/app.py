"""The service as a web application: its routes, and what all answers have in common."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from model.bundle import CARD
from pipelines.service import examples
from pipelines.service.answers import ModelOut, ProblemOut, Scale, Scored, Several, answer, as_json
from pipelines.service.batcher import Batcher
from pipelines.service.hearing import Heard, hear
from pipelines.service.keys import is_one
from pipelines.service.metrics import Metrics
from pipelines.service.problems import MEDIA_TYPE, Problem
from pipelines.service.room import FullError, Room
from pipelines.service.settings import Settings
from pipelines.service.uploads import NAME_LETTERS, Upload, received
from transforms.records import MIX, AudioFault, Reject
from transforms.waveform import ScratchError

if TYPE_CHECKING:
    from model.scorer import Scorer

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
# Of each answer. The page runs its own script and asks its own service for scores, and that is all it can do.
HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        b"media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
# What nobody reads: the client has left.
CLIENT_LEFT = 499
# An upload of more is decoded in a thread of its own: a minute of 16 kHz, 16 bits.
LARGE_BYTES = 2 << 20
_LOG = logging.getLogger(__name__)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL = "there is more to do than there is room for; try again later"
_BEARER = HTTPBearer(auto_error=False, description="one of the keys in AUDIOSIEVE_API_KEYS, if the service has any")
_Message = MutableMapping[str, Any]


class Wanted(BaseModel):
    """What is asked for of each recording."""

    model_config = ConfigDict(extra="forbid")

    frames: bool = Field(False, description="the score of each frame too")
    anomalies: bool = Field(False, description="the bad stretches too")
    spectrogram: bool = Field(False, description="a picture of the spectrogram too")
    channels: str = Field(
        MIX, pattern=r"^(mix|first|[0-9]{1,4})$", description="what is heard: mix (the mean of the channels), first, or the "
        "number of one, from 0", examples=["mix"],
    )  # fmt: skip
    utterance_id: str | None = Field(
        None,
        max_length=NAME_LETTERS,
        description="what to call a recording that is sent as the body",
        examples=["take1"],
    )


class Service:
    """A model at work for requests.

    Args:
        scorer: the model.
        settings: the limits.

    Attributes:
        metrics: what is counted.
        batcher: the queue before the model; set while the service runs.
    """

    def __init__(self, scorer: Scorer, settings: Settings) -> None:
        self.bundle, self.settings = scorer.bundle, settings
        self.metrics = metrics = Metrics(scorer.bundle.model_id)
        self.batcher = Batcher(scorer, settings, metrics)
        self._small = ThreadPoolExecutor(settings.decoders, "decode")
        self._large = ThreadPoolExecutor(1, "decode-large")
        self._requests = Room(settings.max_requests)
        self._spool = Room(settings.max_spool_bytes)
        self._frames = Room(settings.max_frames)
        self._work: asyncio.Task[None] | None = None
        metrics.inside.set_function(lambda: self._requests.used)
        metrics.queue.set_function(lambda: self.batcher.waiting[0])
        metrics.queue_frames.set_function(lambda: self.batcher.waiting[1])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works for the length of the block."""
        self._work = asyncio.create_task(self.batcher.run())
        try:
            yield
        finally:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
            for pool in (self._small, self._large):
                pool.shutdown(wait=False, cancel_futures=True)

    @property
    def ready(self) -> bool:
        """Whether a request that comes now would be taken."""
        return self._work is not None and not self._work.done() and self._requests.used < self._requests.size

    async def score(self, request: Request, wanted: Wanted) -> bytes:
        """Scores what is in a request.

        Raises:
            Problem: it gets no score.
            ClientDisconnect: the client left; its place is free.
        """
        try:
            with self._requests.taken(1), self.metrics.request_seconds.time():
                async with received(request, self.settings, self._spool, wanted.utterance_id) as uploads:
                    found = await _unless_gone(request, self._score_all(uploads.files, wanted))
                if not uploads.form:
                    return found[0]
                return b'{"results":[' + b",".join(found) + b"]}"
        except (FullError, ScratchError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_ROOM:
                raise
            if not isinstance(error, FullError):
                _LOG.error("a request was turned away, as the disk is full: %s", error)
            raise Problem(503, "full", _FULL, retry_after_s=self.batcher.retry_after_s) from error

    async def _score_all(self, uploads: list[Upload], wanted: Wanted) -> list[bytes]:
        """An answer for each recording, be it a problem, as long as one of them has a score."""
        tasks = [asyncio.create_task(self._score_or_problem(upload, wanted)) for upload in uploads]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        problems = [one for one in found if isinstance(one, Problem)]
        if len(problems) == len(found):
            problems[0].others = problems[1:]
            raise problems[0]
        return [as_json(one.as_dict()) if isinstance(one, Problem) else one for one in found]

    async def _score_or_problem(self, upload: Upload, wanted: Wanted) -> bytes | Problem:
        try:
            scored = await self._score(upload, wanted)
        except AudioFault as fault:
            self.metrics.recordings.labels(fault.reason).inc()
            return Problem.of(fault, upload.name)
        self.metrics.recordings.labels("scored").inc()
        return scored

    async def _score(self, upload: Upload, wanted: Wanted) -> bytes:
        with self.metrics.decode_seconds.time():
            heard = await self._hear(upload, wanted)
        with self._frames.taken(len(heard.item.spectrogram)):
            result = await self.batcher.score(heard.item)
        if isinstance(result, Reject):
            raise AudioFault(result.stage, result.reason, result.detail)
        self.metrics.audio_seconds.inc(result.utterance.duration_s)

        def told() -> bytes:
            return as_json(answer(result, heard, upload.name, self.bundle, wanted.frames, wanted.anomalies))

        return await asyncio.get_running_loop().run_in_executor(self._small, told)

    async def _hear(self, upload: Upload, wanted: Wanted) -> Heard:
        stop = threading.Event()
        pool = self._large if upload.size_bytes > LARGE_BYTES else self._small
        work = pool.submit(hear, upload, wanted.channels, wanted.spectrogram, self.bundle.features, self.settings, stop)
        # Whoever leaves meanwhile: the thread still reads the file until it sees that it may stop.
        work.add_done_callback(lambda _: upload.file.close())
        try:
            return await asyncio.wrap_future(work)
        finally:
            stop.set()


async def _unless_gone(request: Request, work: Awaitable[list[bytes]]) -> list[bytes]:
    """Waits for some work as long as the client does.

    Raises:
        ClientDisconnect: it left, and the work was stopped.
    """

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.create_task(left())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


class _Common:
    """What all answers have in common: headers, a count, and that a mistake of ours is a problem like any other."""

    def __init__(self, app: Any, metrics: Metrics, paths: set[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: _Message, receive: Any, send: Callable[[_Message], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def sending(message: _Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS.items()]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            status = CLIENT_LEFT
        except Exception:
            _LOG.exception("a request failed: %s %s", scope["method"], scope["path"])
            if status:
                raise
            problem = Problem(500, "mistake", "the service made a mistake; its log says which")
            await problem.response()(scope, receive, sending)
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.requests.labels(path, str(status)).inc()


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": ProblemOut, "content": {MEDIA_TYPE: {"example": examples.PROBLEMS[status]}}}
        for status in statuses
    }


def build(scorer: Scorer, settings: Settings) -> FastAPI:
    """The web application of a model."""
    service = Service(scorer, settings)
    bundle = service.bundle

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    async def allowed(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if settings.keys and (given is None or not is_one(given.credentials, settings.keys)):
            raise Problem(401, "unauthorized", "send one of the service's keys: `Authorization: Bearer KEY`")

    app = FastAPI(
        title="audiosieve",
        summary="Upload a recording, get its quality.",
        version=version("audiosieve"),
        lifespan=lifespan,
        # The usual pages of documentation load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    guarded: dict[str, Any] = {"dependencies": [Depends(allowed)]}

    @app.post(
        "/v1/score",
        summary="Score recordings",
        response_class=Response,
        responses={
            200: {"model": Scored | Several},
            **_documented(400, 401, 408, 413, 415, 422, 500, 503),
        },
        openapi_extra=examples.REQUEST,
        **guarded,
    )
    async def score(request: Request, wanted: Annotated[Wanted, Query()]) -> Response:
        """Send a recording as the body, or one or several as the files of a form.

        Anything that libsndfile reads is taken (WAV, FLAC, OGG, Opus, MP3, ...), told by its content, whatever its name and
        type say. A body is answered by its score or by a problem. A form is answered by a list, in its order, with a score or
        a problem for each file; if no file of it has a score, by a problem. All scores are those of `audiosieve score`.
        """
        return Response(await service.score(request, wanted), media_type="application/json")

    @app.get(
        "/v1/model",
        summary="The model",
        response_class=Response,
        responses={200: {"model": ModelOut}, **_documented(401)},
        **guarded,
    )
    async def model() -> Response:
        """The model's card, what its scores mean, and what a request may have."""
        told = ModelOut(
            model_id=bundle.model_id,
            hash=bundle.hash,
            label_scale=Scale.of(bundle.label_scale),
            card=json.loads((bundle.path / CARD).read_text(encoding="utf-8")),
            limits={
                "max_upload_bytes": settings.max_upload_bytes,
                "max_files": settings.max_files,
                "max_audio_s": settings.max_audio_s,
            },
            version=app.version,
        )
        return Response(told.model_dump_json(), media_type="application/json")

    @app.get("/healthz", summary="Is it alive?", response_class=Response, responses=_plain("alive"))
    async def healthz() -> Response:
        """Answered as long as the process works at all."""
        return Response("alive\n", media_type="text/plain")

    @app.get(
        "/readyz",
        summary="Would it take a request?",
        response_class=Response,
        responses=_plain("ready") | _documented(503),
    )
    async def readyz() -> Response:
        """Answered with 503 while the service is full, or the model is gone."""
        if not service.ready:
            raise Problem(503, "full", _FULL, retry_after_s=service.batcher.retry_after_s)
        return Response("ready\n", media_type="text/plain")

    @app.get(
        "/metrics",
        summary="Counters, for Prometheus",
        response_class=Response,
        responses=_plain("audiosieve_audio_seconds_total 20.3") | _documented(401),
        **guarded,
    )
    async def metrics() -> Response:
        """Requests, recordings, seconds of audio, the queue, batches, and how long all takes."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    for path, (name, kind) in PAGE.items():
        content = (files("pipelines.service") / "page" / name).read_bytes()
        app.add_api_route(path, _constant(content, kind), include_in_schema=False, response_class=Response)

    describe = app.openapi
    app.openapi = lambda: _completed(describe())  # type: ignore[method-assign]
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _wrongly_asked)
    app.add_exception_handler(HTTPException, _no_such_thing)
    app.add_middleware(_Common, metrics=service.metrics, paths={getattr(route, "path", "") for route in app.routes})
    return app


def _completed(described: dict[str, Any]) -> dict[str, Any]:
    """The description as FastAPI makes it, with what it gets wrong: the type of problems, and examples with nulls."""
    for operation in itertools.chain.from_iterable(path.values() for path in described["paths"].values()):
        for response in operation["responses"].values():
            content = response["content"]
            if MEDIA_TYPE in content and "application/json" in content:
                content[MEDIA_TYPE] |= content.pop("application/json")
    answers = described["paths"]["/v1/score"]["post"]["responses"]["200"]
    answers["content"]["application/json"]["examples"] = examples.ANSWERS
    return described


def _plain(example: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": f"{example}\n"}}}}


def _constant(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        return Response(content, media_type=kind)

    return page


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _wrongly_asked(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
    return Problem(422, "bad_request", said).response()


async def _no_such_thing(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = str(error.detail).lower().replace(" ", "_")
    response = Problem(error.status_code, reason, str(error.detail)).response()
    response.headers.update(error.headers or {})
    return response
