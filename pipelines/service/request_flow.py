"""A request from its upload to its answer: received, decoded, scored together with others, told."""

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
from pipelines.service.capacity import CapacityError, CapacityLimit, Share
from pipelines.service.decoding import DecodedUpload, decode_upload
from pipelines.service.metrics import Metrics
from pipelines.service.problems import Problem
from pipelines.service.responses import answer, as_json
from pipelines.service.settings import Settings
from pipelines.service.uploads import NAME_LETTERS, Upload, received
from transforms.audio.waveform import ScratchError
from transforms.elements import MIX, Reject
from transforms.errors import AudioFault

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

# An upload of more is decoded in a thread of its own: a minute of 16 kHz, 16 bits.
LARGE_BYTES = 2 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOG = logging.getLogger(__name__)


class ScoreRequest(BaseModel):
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
        when_broken: is called if the queue before the model breaks: nothing will be scored any more.

    Attributes:
        metrics: what is counted.
        batcher: the queue before the model; set while the service runs.
    """

    def __init__(self, scorer: Scorer, settings: Settings, when_broken: Callable[[], None]) -> None:
        self.bundle, self.settings = scorer.bundle, settings
        self._when_broken = when_broken
        self.metrics = metrics = Metrics(scorer.bundle.model_id)
        self.batcher = Batcher(scorer, settings, metrics)
        self._small = ThreadPoolExecutor(settings.decoders, "decode")
        self._large = ThreadPoolExecutor(1, "decode-large")
        self._requests = CapacityLimit(settings.max_requests)
        self._spool = CapacityLimit(settings.max_spool_bytes)
        self._frames = CapacityLimit(settings.max_frames)
        self._work: asyncio.Task[None] | None = None
        metrics.inside.set_function(lambda: self._requests.used)
        metrics.queue.set_function(lambda: self.batcher.waiting[0])
        metrics.queue_frames.set_function(lambda: self.batcher.waiting[1])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works for the length of the block."""
        self._work = asyncio.create_task(self.batcher.run())
        self._work.add_done_callback(self._look_after)
        try:
            yield
        finally:
            self._work.cancel()
            await asyncio.wait([self._work])
            for pool in (self._small, self._large):
                pool.shutdown(wait=False, cancel_futures=True)

    def _look_after(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and (error := work.exception()):
            _LOG.critical("the queue before the model broke: the service ends", exc_info=error)
            self._when_broken()

    @property
    def ready(self) -> bool:
        """Whether a request that comes now would be taken."""
        return self._work is not None and not self._work.done() and self._requests.used < self._requests.size

    @property
    def full(self) -> Problem:
        """What a request is told for which there is no room."""
        detail = "there is more to do than there is room for; try again later"
        return Problem(503, "full", detail, retry_after_s=self.batcher.retry_after_s)

    async def score(self, request: Request, wanted: ScoreRequest) -> bytes:
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
        except (CapacityError, ScratchError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_ROOM:
                raise
            if not isinstance(error, CapacityError):
                _LOG.error("a request was turned away, as the disk is full: %s", error)
            raise self.full from error

    async def _score_all(self, uploads: list[Upload], wanted: ScoreRequest) -> list[bytes]:
        """An answer for each recording, be it a problem, as long as one of them has a score."""
        share = Share(self._frames)
        tasks = [asyncio.create_task(self._score_or_problem(upload, wanted, share)) for upload in uploads]
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

    async def _score_or_problem(self, upload: Upload, wanted: ScoreRequest, share: Share) -> bytes | Problem:
        try:
            scored = await self._score(upload, wanted, share)
        except AudioFault as fault:
            self.metrics.recordings.labels(fault.reason).inc()
            return Problem.of(fault, upload.name)
        self.metrics.recordings.labels("scored").inc()
        return scored

    async def _score(self, upload: Upload, wanted: ScoreRequest, share: Share) -> bytes:
        # The next file of a form is decoded once there was room for this one: what waits for room does not pile up.
        async with share.turn:
            with self.metrics.decode_seconds.time():
                heard = await self._decode(upload, wanted)
            item, picture = heard.item, heard.picture
            del heard
            frames = len(item.spectrogram)
            await share.take(frames)
        try:
            result = await self.batcher.score(item)
            del item  # what has its score needs its spectrogram no more
        finally:
            share.give_back(frames)
        if isinstance(result, Reject):
            raise AudioFault(result.stage, result.reason, result.detail)
        self.metrics.audio_seconds.inc(result.utterance.duration_s)

        def told() -> bytes:
            return as_json(answer(result, picture, upload.name, self.bundle, wanted.frames, wanted.anomalies))

        return await asyncio.get_running_loop().run_in_executor(self._small, told)

    async def _decode(self, upload: Upload, wanted: ScoreRequest) -> DecodedUpload:
        stop = threading.Event()
        pool = self._large if upload.size_bytes > LARGE_BYTES else self._small
        work = pool.submit(
            decode_upload, upload, wanted.channels, wanted.spectrogram, self.bundle.features, self.settings, stop
        )
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
