"""Steps of a scoring request: receive the uploads, decode them, score them in batches, respond."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect, Request

from pipelines.service.batcher import Batcher
from pipelines.service.capacity import CapacityError, CapacityLimit, RequestShare
from pipelines.service.decoding import DecodedUpload, decode_upload
from pipelines.service.metrics import Metrics
from pipelines.service.problems import Problem
from pipelines.service.responses import as_json, response_body
from pipelines.service.settings import Settings
from pipelines.service.uploads import MAX_NAME_LETTERS, Upload, received
from transforms.audio.waveform import ScratchError
from transforms.elements import AUTO
from transforms.errors import AudioFault
from transforms.scoring.inference import Result
from transforms.scoring.utterance_score import ModelInfo, Score, summarise

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

# Larger uploads have a decoding thread of their own, so that small ones do not wait for them: a minute of 16 kHz, 16 bits.
LARGE_BYTES = 2 << 20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOG = logging.getLogger(__name__)


class ScoreRequest(BaseModel):
    """Options of a scoring request, for all of its recordings."""

    model_config = ConfigDict(extra="forbid")

    frames: bool = Field(False, description="whether to return the score of each frame")
    anomalies: bool = Field(False, description="whether to return the anomalies")
    spectrogram: bool = Field(False, description="whether to return an image of the spectrogram")
    channels: str = Field(
        AUTO,
        pattern=r"^(auto|mix|first|[0-9]{1,4})$",
        description="channels to score: auto (the mean of all, or the best one where they differ), mix (always the mean), "
        "first, or the number of a channel, from 0",
        examples=["mix"],
    )
    utterance_id: str | None = Field(
        None,
        max_length=MAX_NAME_LETTERS,
        description="id of a recording that is sent as the body",
        examples=["take1"],
    )


class Service:
    """Scores the recordings of requests with one model.

    Args:
        scorer: the model.
        settings: limits of the service.
        on_failure: function to call if the batcher fails, after which nothing more is scored.

    Attributes:
        bundle: bundle of the model.
        settings: limits of the service.
        metrics: metrics of the service.
        batcher: queue of the model.
    """

    def __init__(self, scorer: Scorer, settings: Settings, on_failure: Callable[[], None]) -> None:
        self.bundle, self.settings = scorer.bundle, settings
        self._model = ModelInfo.of(scorer.bundle)
        self._on_failure = on_failure
        self.metrics = metrics = Metrics(scorer.bundle.model_id)
        self.batcher = Batcher(scorer, settings, metrics)
        self._decoders = ThreadPoolExecutor(settings.decoders, "decode")
        self._large_decoder = ThreadPoolExecutor(1, "decode-large")
        self._requests = CapacityLimit(settings.max_requests)
        self._spool = CapacityLimit(settings.max_spool_bytes)
        self._frames = CapacityLimit(settings.max_frames)
        self._batching: asyncio.Task[None] | None = None
        metrics.inside.set_function(lambda: self._requests.used)
        metrics.queue.set_function(lambda: self.batcher.waiting[0])
        metrics.queue_frames.set_function(lambda: self.batcher.waiting[1])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Scores requests for the length of a block."""
        self._batching = asyncio.create_task(self.batcher.run())
        self._batching.add_done_callback(self._report_failure)
        try:
            yield
        finally:
            self._batching.cancel()
            await asyncio.wait([self._batching])
            for pool in (self._decoders, self._large_decoder):
                pool.shutdown(wait=False, cancel_futures=True)

    def _report_failure(self, batching: asyncio.Task[None]) -> None:
        if not batching.cancelled() and (error := batching.exception()):
            _LOG.critical("the batcher failed; the service ends", exc_info=error)
            self._on_failure()

    @property
    def ready(self) -> bool:
        """Whether the service accepts requests now."""
        is_batching = self._batching is not None and not self._batching.done()
        return is_batching and self._requests.used < self._requests.size

    @property
    def full(self) -> Problem:
        """Problem for a request over the capacity."""
        detail = "the service is at its capacity; try again later"
        return Problem(503, "full", detail, retry_after_s=self.batcher.retry_after_s)

    async def score(self, request: Request, options: ScoreRequest) -> bytes:
        """Scores the recordings of a request and returns the body of the response.

        Raises:
            Problem: no recording has a score.
            ClientDisconnect: the client disconnected. Its capacity is released.
        """
        try:
            with self._requests.acquired(1), self.metrics.request_seconds.time():
                async with received(request, self.settings, self._spool, options.utterance_id) as uploads:
                    bodies = await _unless_disconnected(request, self._score_all(uploads.files, options))
                if not uploads.is_form:
                    return bodies[0]
                return b'{"results":[' + b",".join(bodies) + b"]}"
        except (CapacityError, ScratchError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _DISK_FULL:
                raise
            if not isinstance(error, CapacityError):
                _LOG.error("a request was refused because the disk is full: %s", error)
            raise self.full from error

    async def _score_all(self, uploads: list[Upload], options: ScoreRequest) -> list[bytes]:
        """Returns the response body for each recording, its score or its problem.

        Raises:
            Problem: no recording has a score.
        """
        share = RequestShare(self._frames)
        tasks = [asyncio.create_task(self._score_or_problem(upload, options, share)) for upload in uploads]
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        problems = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
        if len(problems) == len(outcomes):
            problems[0].others = problems[1:]
            raise problems[0]
        return [as_json(outcome.as_dict()) if isinstance(outcome, Problem) else outcome for outcome in outcomes]

    async def _score_or_problem(self, upload: Upload, options: ScoreRequest, share: RequestShare) -> bytes | Problem:
        try:
            body = await self._score(upload, options, share)
        except AudioFault as fault:
            self.metrics.recordings.labels(fault.reason).inc()
            return Problem.of(fault, upload.name)
        self.metrics.recordings.labels("scored").inc()
        return body

    async def _score(self, upload: Upload, options: ScoreRequest, share: RequestShare) -> bytes:
        # The next file of a form is decoded only after this one has acquired its capacity: spectrograms must not pile up.
        async with share.turn:
            with self.metrics.decode_seconds.time():
                decoded = await self._decode(upload, options)
            utterance, spectrogram_png = decoded.utterance, decoded.spectrogram_png
            del decoded
            frames = len(utterance.spectrogram)
            await share.acquire(frames)
        try:
            result = await self.batcher.score(utterance)
            del utterance  # frees the spectrogram before its capacity is released
        finally:
            share.release(frames)
        score, body = await asyncio.get_running_loop().run_in_executor(
            self._decoders, self._respond, result, upload, spectrogram_png, options
        )
        self.metrics.audio_seconds.inc(score.duration_s)
        return body

    def _respond(
        self, result: Result, upload: Upload, spectrogram_png: bytes | None, options: ScoreRequest
    ) -> tuple[Score, bytes]:
        score = summarise(result, self._model)
        return score, as_json(response_body(score, spectrogram_png, upload.name, options.frames, options.anomalies))

    async def _decode(self, upload: Upload, options: ScoreRequest) -> DecodedUpload:
        stop = threading.Event()
        pool = self._large_decoder if upload.size_bytes > LARGE_BYTES else self._decoders
        work = pool.submit(
            decode_upload, upload, options.channels, options.spectrogram, self.bundle.features, self.settings, stop
        )
        # Not in `finally` below: after a disconnect the thread reads the file until it sees the stop signal.
        work.add_done_callback(lambda _: upload.file.close())
        try:
            return await asyncio.wrap_future(work)
        finally:
            stop.set()


async def _unless_disconnected(request: Request, work: Awaitable[list[bytes]]) -> list[bytes]:
    """Awaits a result, and cancels the work if the client disconnects.

    Raises:
        ClientDisconnect: the client disconnected.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, waiting = asyncio.ensure_future(work), asyncio.create_task(disconnected())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.wait({working, waiting})
