"""Dynamic batching: recordings of several requests share a model call.

All state belongs to the thread of the event loop. Only the model runs in another thread, one call at a time. Recordings that
arrive during a call are batched, so batches grow with the load. When the model is idle, the first recording waits up to
`max_wait_s` for others to batch with. Batches are cut by length as in the pipeline (`cut_batches`), and the batch with the
oldest recording is scored first.

Long recordings have a queue of their own. They are scored in steps of about 30 s of audio: one step between two batches, each
long recording in turn. A short recording therefore waits for a step, not for an hour of audio.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from model.runtime import release_memory
from pipelines.service.metrics import Metrics
from pipelines.service.settings import Settings
from transforms.elements import FeaturizedUtterance
from transforms.scoring.batching import cut_batches
from transforms.scoring.inference import Result, score_batch, score_in_parts

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

# Scored frames after which freed memory is returned to the system.
FRAMES_BETWEEN_TRIMS = 262_144
MAX_RETRY_AFTER_S = 60
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class _QueuedRecording:
    """A recording in the queue.

    Attributes:
        utterance: features of the recording.
        result: future of the result; cancelled if the client disconnects.
        arrived_s: time of arrival on the monotonic clock, in seconds.
        steps: remaining steps of a long recording; None until the first one.
    """

    utterance: FeaturizedUtterance
    result: asyncio.Future[Result]
    arrived_s: float
    steps: Iterator[Result | None] | None = None

    @property
    def frames(self) -> int:
        return len(self.utterance.spectrogram)

    def set_result(self, result: Result | Exception) -> None:
        """Delivers the result, unless the client has disconnected."""
        if self.result.done():
            return
        if isinstance(result, Exception):
            self.result.set_exception(result)
        else:
            self.result.set_result(result)


class Batcher:
    """Scores recordings of concurrent requests in batches.

    Args:
        scorer: the model.
        settings: batch limits and waiting time.
        metrics: metrics of the service.
    """

    def __init__(self, scorer: Scorer, settings: Settings, metrics: Metrics) -> None:
        self._scorer, self._settings, self._metrics = scorer, settings, metrics
        self._thread = ThreadPoolExecutor(1, "model")
        self._short: list[_QueuedRecording] = []
        self._long: deque[_QueuedRecording] = deque()
        self._arrival = asyncio.Event()
        self._frames_since_trim = 0
        self._frames_per_s = 0.0
        self._failure: Exception | None = None

    async def score(self, utterance: FeaturizedUtterance) -> Result:
        """Scores a recording, batched with others. Cancelling the call removes the recording from the queue.

        Returns:
            The frame scores, or the reject if the model failed on the recording.

        Raises:
            Exception: a bug in the model call, or in the queue, after which nothing more is scored.
        """
        if self._failure:
            raise self._failure
        recording = _QueuedRecording(utterance, asyncio.get_running_loop().create_future(), time.monotonic())
        queue = self._long if recording.frames > self._scorer.whole_frames else self._short
        queue.append(recording)
        self._arrival.set()
        try:
            return await recording.result
        finally:
            if recording in queue:
                queue.remove(recording)

    async def run(self) -> None:
        """Scores the queued recordings until it is cancelled.

        Raises:
            Exception: a bug in the queue itself. Every queued recording fails with it, and nothing more is scored.
        """
        try:
            while True:
                if not self._short and not self._long:
                    await self._wait_for_arrival()
                if self._short:
                    await self._wait_for_batch()
                if self._short:
                    await self._score_batch()
                if self._long:
                    await self._score_step()
        except Exception as error:
            self._failure = error
            for recording in self._queued:
                recording.set_result(error)
            raise
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def _queued(self) -> list[_QueuedRecording]:
        return [*self._short, *self._long]

    @property
    def waiting(self) -> tuple[int, int]:
        """Number of queued recordings and of their frames, including long recordings that are partly scored."""
        return len(self._queued), sum(recording.frames for recording in self._queued)

    @property
    def retry_after_s(self) -> int:
        """Estimated time until the queued recordings are scored, in whole seconds from 1."""
        _, frames = self.waiting
        seconds = frames / self._frames_per_s if self._frames_per_s else 1.0
        return min(max(1, math.ceil(seconds)), MAX_RETRY_AFTER_S)

    async def _wait_for_arrival(self) -> None:
        self._arrival.clear()
        await self._arrival.wait()

    async def _wait_for_batch(self) -> None:
        """Waits for more short recordings, unless a batch is full or the model has a long recording to score."""
        limits = self._settings.batch
        deadline = self._short[0].arrived_s + self._settings.max_wait_s
        while (
            (remaining_s := deadline - time.monotonic()) > 0
            and 0 < len(self._short) < limits.batch_size
            and sum(recording.frames for recording in self._short) < limits.batch_frames
            and not self._long
        ):
            try:
                async with asyncio.timeout(remaining_s):
                    await self._wait_for_arrival()
            except TimeoutError:
                return

    async def _score_batch(self) -> None:
        batches = cut_batches([recording.frames for recording in self._short], self._settings.batch)
        indices = next(batch for batch in batches if 0 in batch)
        batch = [self._short[index] for index in indices]
        # In place: `score` removes a recording from this very list.
        self._short[:] = [recording for recording in self._short if recording not in batch]
        started_s = time.monotonic()
        lengths = [recording.frames for recording in batch]
        try:
            for recording in batch:
                self._metrics.wait_seconds.observe(started_s - recording.arrived_s)
            self._metrics.batch.observe(len(batch))
            self._metrics.padding.observe(1 - sum(lengths) / (len(batch) * max(lengths)))
            results = await self._call(score_batch, [recording.utterance for recording in batch], self._scorer)
            for recording, result in zip(batch, results, strict=True):
                recording.set_result(result)
        except Exception as error:  # noqa: BLE001 -- a bug must cost this batch only, not the following ones
            _LOG.exception("the model failed on a batch of %d recordings", len(batch))
            for recording in batch:
                recording.set_result(error)
            return
        speed = sum(lengths) / max(time.monotonic() - started_s, 1e-6)
        self._frames_per_s += 0.1 * (speed - self._frames_per_s) if self._frames_per_s else speed
        self._trim(sum(lengths))

    async def _score_step(self) -> None:
        """Scores one step of the first long recording, then moves it to the end of the queue."""
        recording = self._long[0]
        if recording.steps is None:
            self._metrics.wait_seconds.observe(time.monotonic() - recording.arrived_s)
            recording.steps = score_in_parts(recording.utterance, self._scorer)
        result: Result | Exception | None
        try:
            result = await self._call(next, recording.steps)
        except Exception as error:  # noqa: BLE001 -- a bug must cost this recording only
            _LOG.exception("the model failed on a long recording")
            result = error
        # A disconnect during the step has removed the recording from the queue.
        if recording not in self._long:
            return
        self._long.remove(recording)
        if result is None:
            self._long.append(recording)
        else:
            recording.set_result(result)
            self._trim(recording.frames)

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a model call in the model's thread and records its time."""
        with self._metrics.model_seconds.time():
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _trim(self, frames: int) -> None:
        self._frames_since_trim += frames
        if self._frames_since_trim >= FRAMES_BETWEEN_TRIMS:
            self._frames_since_trim = 0
            self._thread.submit(release_memory)
