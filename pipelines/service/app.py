"""Web application of the service: its routes, and the headers and error handling of all responses."""

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
from pipelines.service.api_keys import is_valid
from pipelines.service.metrics import Metrics
from pipelines.service.origins import OriginGuard, Origins
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
# Headers of every response. They allow the page to run only its own script and to call only its own service.
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
# Status in the metrics for a request whose client disconnected.
CLIENT_DISCONNECTED = 499
_LOG = logging.getLogger(__name__)
_BEARER = HTTPBearer(auto_error=False, description="one of the keys in AUDIOSIEVE_API_KEYS, if the service has keys")
_Message = MutableMapping[str, Any]


class _Middleware:
    """Adds the headers to every response, counts requests, and turns an unexpected exception into a problem."""

    def __init__(self, app: Any, metrics: Metrics, paths: set[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: _Message, receive: Any, send: Callable[[_Message], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_with_headers(message: _Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS.items()]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = CLIENT_DISCONNECTED
        except Exception:
            _LOG.exception("a request failed: %s %s", scope["method"], scope["path"])
            if status:
                raise
            problem = Problem(500, "internal_error", "Internal error; see the service log.")
            await problem.response()(scope, receive, send_with_headers)
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.requests.labels(path, str(status)).inc()


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": ProblemOut, "content": {MEDIA_TYPE: {"example": openapi_examples.PROBLEMS[status]}}}
        for status in statuses
    }


def build(scorer: Scorer, settings: Settings, on_failure: Callable[[], None]) -> FastAPI:
    """Builds the web application of a model.

    Args:
        scorer: the model.
        settings: limits of the service.
        on_failure: function to call if the batcher fails, after which nothing more is scored.
    """
    service = Service(scorer, settings, on_failure)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="audiosieve",
        summary="Scores the quality of uploaded recordings.",
        version=version("audiosieve"),
        lifespan=lifespan,
        # FastAPI's documentation pages load scripts from other sites.
        docs_url=None,
        redoc_url=None,
    )
    protected = _protected(settings)
    _add_api(app, service, protected)
    _add_monitoring(app, service, protected)
    _add_page(app)
    describe = app.openapi
    app.openapi = lambda: _correct_openapi(describe())  # type: ignore[method-assign]
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(OriginGuard, origins=Origins(frozenset(settings.hosts), checks_host=not settings.keys))
    # The last one is the outermost.
    app.add_middleware(_Middleware, metrics=service.metrics, paths={getattr(route, "path", "") for route in app.routes})
    return app


def _protected(settings: Settings) -> dict[str, Any]:
    """Returns the arguments of a route that needs one of the service's keys, if the service has keys."""

    async def require_key(header: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if settings.keys and (header is None or not is_valid(header.credentials, settings.keys)):
            raise Problem(401, "unauthorized", "send one of the service's keys: `Authorization: Bearer KEY`")

    return {"dependencies": [Depends(require_key)]}


def _add_api(app: FastAPI, service: Service, protected: dict[str, Any]) -> None:
    """Adds the routes that score recordings and describe the model."""

    @app.post(
        "/v1/score",
        summary="Score recordings",
        response_class=Response,
        responses={
            200: {"model": Scored | ScoredFiles},
            **_documented(400, 401, 403, 408, 413, 415, 422, 500, 503),
        },
        openapi_extra=openapi_examples.REQUEST,
        **protected,
    )
    async def score(request: Request, options: Annotated[ScoreRequest, Query()]) -> Response:
        """Send one recording as the body, or several as the files of a form.

        Every format of a corpus is accepted: WAV, FLAC, OGG, Opus, MP3, M4A, WebM and others. The content decides the format;
        file names and content types are ignored. The response to a body is its score or a problem. The response to a form is a
        list in the order of its files, with a score or a problem for each; if no file has a score, it is one problem. The
        scores are those of `audiosieve score`.
        """
        return Response(await service.score(request, options), media_type="application/json")

    @app.get(
        "/v1/model",
        summary="The model",
        response_class=Response,
        responses={200: {"model": ModelOut}, **_documented(401, 403)},
        **protected,
    )
    async def model() -> Response:
        """Returns the model's card, the scale of its scores, and the limits of a request."""
        body = ModelOut(
            model_id=service.bundle.model_id,
            hash=service.bundle.hash,
            label_scale=Scale.of(service.bundle.label_scale),
            card=json.loads((service.bundle.path / CARD).read_text(encoding="utf-8")),
            limits={
                "max_upload_bytes": service.settings.max_upload_bytes,
                "max_files": service.settings.max_files,
                "max_audio_s": service.settings.max_audio_s,
            },
            version=app.version,
        )
        return Response(body.model_dump_json(), media_type="application/json")


def _add_monitoring(app: FastAPI, service: Service, protected: dict[str, Any]) -> None:
    """Adds the routes for probes and metrics."""

    @app.get("/healthz", summary="Liveness", response_class=Response, responses=_plain("alive"))
    async def healthz() -> Response:
        """Returns 200 as long as the process runs."""
        return Response("alive\n", media_type="text/plain")

    @app.get(
        "/readyz",
        summary="Readiness",
        response_class=Response,
        responses=_plain("ready") | _documented(503),
    )
    async def readyz() -> Response:
        """Returns 200 if the service accepts requests, and 503 if it is at its capacity or has failed."""
        if not service.ready:
            raise service.full
        return Response("ready\n", media_type="text/plain")

    @app.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses=_plain("audiosieve_audio_seconds_total 20.3") | _documented(401, 403),
        **protected,
    )
    async def metrics() -> Response:
        """Returns the metrics of requests, recordings, the queue and model calls."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    """Adds the files of the web page."""
    for path, (name, kind) in PAGE.items():
        content = (files("pipelines.service") / "page" / name).read_bytes()
        app.add_api_route(path, _constant(content, kind), include_in_schema=False, response_class=Response)


def _correct_openapi(description: dict[str, Any]) -> dict[str, Any]:
    """Corrects FastAPI's OpenAPI description: the media type of problems, and examples that contain nulls."""
    for operation in itertools.chain.from_iterable(path.values() for path in description["paths"].values()):
        for response in operation["responses"].values():
            content = response["content"]
            if MEDIA_TYPE in content and "application/json" in content:
                content[MEDIA_TYPE] |= content.pop("application/json")
    success = description["paths"]["/v1/score"]["post"]["responses"]["200"]
    success["content"]["application/json"]["examples"] = openapi_examples.RESPONSES
    return description


def _plain(example: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": f"{example}\n"}}}}


def _constant(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        return Response(content, media_type=kind)

    return page


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    detail = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
    return Problem(422, "bad_request", detail).response()


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = str(error.detail).lower().replace(" ", "_")
    response = Problem(error.status_code, reason, str(error.detail)).response()
    response.headers.update(error.headers or {})
    return response
