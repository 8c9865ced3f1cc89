"""The service as a web application: its routes, and what all answers have in common."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from model.bundle import CARD
from pipelines.service import openapi_examples
from pipelines.service.api_keys import is_one
from pipelines.service.metrics import Metrics
from pipelines.service.problems import MEDIA_TYPE, Problem
from pipelines.service.request_flow import ScoreRequest, Service
from pipelines.service.responses import ModelOut, ProblemOut, Scale, Scored, ScoredFiles
from pipelines.service.settings import Settings

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

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
_LOG = logging.getLogger(__name__)
_BEARER = HTTPBearer(auto_error=False, description="one of the keys in AUDIOSIEVE_API_KEYS, if the service has any")
_Message = MutableMapping[str, Any]


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
        status: {"model": ProblemOut, "content": {MEDIA_TYPE: {"example": openapi_examples.PROBLEMS[status]}}}
        for status in statuses
    }


def build(scorer: Scorer, settings: Settings, when_broken: Callable[[], None]) -> FastAPI:
    """The web application of a model.

    Args:
        scorer: the model.
        settings: the limits.
        when_broken: is called when nothing will be scored any more.
    """
    service = Service(scorer, settings, when_broken)
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
            200: {"model": Scored | ScoredFiles},
            **_documented(400, 401, 408, 413, 415, 422, 500, 503),
        },
        openapi_extra=openapi_examples.REQUEST,
        **guarded,
    )
    async def score(request: Request, wanted: Annotated[ScoreRequest, Query()]) -> Response:
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
            raise service.full
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
    answers["content"]["application/json"]["examples"] = openapi_examples.ANSWERS
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
