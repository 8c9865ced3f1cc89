"""Dynamic batching: recordings of several requests share a call of the model.

All state belongs to the event loop's thread; only the model runs in another, one call at a time. While it runs, recordings
gather, so that batches grow with the load; if it is free, the first to come waits `max_wait_s` for company. Batches are cut by
length as those of the pipeline are (`cut_batches`), and the one that holds the oldest recording goes first.

Long recordings have a lane of their own. They are worked through in steps of some 30 s of audio, one step between two
batches, in turn if there are several: a short recording waits for a step, and never for an hour of audio.
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

from model.runtime import give_back_memory
from pipelines.service.metrics import Metrics
from pipelines.service.settings import Settings
from transforms.elements import FeaturizedUtterance
from transforms.scoring.batching import cut_batches
from transforms.scoring.inference import Result, score_batch, score_in_parts

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

# So many frames leave enough freed memory behind to give it back.
FRAMES_BETWEEN_TRIMS = 262_144
MAX_RETRY_AFTER_S = 60
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class _Waiting:
    """A recording, and who waits for its score.

    Attributes:
        item: the recording.
        result: where its score will be; cancelled when the client has left.
        since: when it came.
        steps: of a long one, once it is begun.
    """

    item: FeaturizedUtterance
    result: asyncio.Future[Result]
    since: float
    steps: Iterator[Result | None] | None = None

    @property
    def frames(self) -> int:
        return len(self.item.spectrogram)


class Batcher:
    """Scores recordings as they come.

    Args:
        scorer: the model.
        settings: how large a batch may be, and how long the first of it waits.
        metrics: where calls are counted.
    """

    def __init__(self, scorer: Scorer, settings: Settings, metrics: Metrics) -> None:
        self._scorer, self._settings, self._metrics = scorer, settings, metrics
        self._thread = ThreadPoolExecutor(1, "model")
        self._short: list[_Waiting] = []
        self._long: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._untrimmed = 0
        self._frames_a_second = 0.0
        self._broken: Exception | None = None

    async def score(self, item: FeaturizedUtterance) -> Result:
        """Scores a recording together with others; whoever stops waiting for it frees its place.

        Returns:
            Its frame scores, or why the model gave none.

        Raises:
            Exception: a mistake of ours, in the call of the model or, then for all that come, in the queue.
        """
        if self._broken:
            raise self._broken
        waiting = _Waiting(item, asyncio.get_running_loop().create_future(), time.monotonic())
        lane = self._long if waiting.frames > self._scorer.whole_frames else self._short
        lane.append(waiting)
        self._arrived.set()
        try:
            return await waiting.result
        finally:
            if waiting in lane:
                lane.remove(waiting)

    async def run(self) -> None:
        """Works until it is cancelled.

        Raises:
            Exception: a mistake of ours in the queue itself, which all who wait get too; nobody is served any more.
        """
        try:
            while True:
                if not self._short and not self._long:
                    await self._come()
                if self._short:
                    await self._gather()
                if self._short:
                    await self._score_a_batch()
                if self._long:
                    await self._do_a_step()
        except Exception as error:
            self._broken = error
            for one in (*self._short, *self._long):
                _give(one, error)
            raise
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> tuple[int, int]:
        """Recordings that wait for the model or are in it in steps, and their frames."""
        return len(self._short) + len(self._long), sum(one.frames for one in (*self._short, *self._long))

    @property
    def retry_after_s(self) -> int:
        """In how many whole seconds what waits now will be done, as far as one can tell."""
        _, frames = self.waiting
        seconds = frames / self._frames_a_second if self._frames_a_second else 1.0
        return min(max(1, math.ceil(seconds)), MAX_RETRY_AFTER_S)

    async def _come(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    async def _gather(self) -> None:
        """Waits for company, while the model has nothing else to do."""
        limits = self._settings.batch
        deadline = self._short[0].since + self._settings.max_wait_s
        while (
            (left := deadline - time.monotonic()) > 0
            and 0 < len(self._short) < limits.batch_size
            and sum(one.frames for one in self._short) < limits.batch_frames
            and not self._long
        ):
            try:
                async with asyncio.timeout(left):
                    await self._come()
            except TimeoutError:
                return

    async def _score_a_batch(self) -> None:
        batches = cut_batches([one.frames for one in self._short], self._settings.batch)
        chosen = next(batch for batch in batches if 0 in batch)
        batch = [self._short[place] for place in chosen]
        taken = set(chosen)
        self._short[:] = [one for place, one in enumerate(self._short) if place not in taken]
        begun = time.monotonic()
        lengths = [one.frames for one in batch]
        try:
            for one in batch:
                self._metrics.wait_seconds.observe(begun - one.since)
            self._metrics.batch.observe(len(batch))
            self._metrics.padding.observe(1 - sum(lengths) / (len(batch) * max(lengths)))
            results = await self._call(score_batch, [one.item for one in batch], self._scorer)
            for one, result in zip(batch, results, strict=True):
                _give(one, result)
        except Exception as error:  # noqa: BLE001 -- a mistake of ours: it costs this batch, and no later one
            _LOG.exception("the model failed on a batch of %d", len(batch))
            for one in batch:
                _give(one, error)
            return
        speed = sum(lengths) / max(time.monotonic() - begun, 1e-6)
        self._frames_a_second += 0.1 * (speed - self._frames_a_second) if self._frames_a_second else speed
        self._trim(sum(lengths))

    async def _do_a_step(self) -> None:
        one = self._long[0]
        if one.steps is None:
            self._metrics.wait_seconds.observe(time.monotonic() - one.since)
            one.steps = score_in_parts(one.item, self._scorer)
        found: Result | Exception | None
        try:
            found = await self._call(next, one.steps)
        except Exception as error:  # noqa: BLE001 -- as above
            _LOG.exception("the model failed on a long recording")
            found = error
        # Whoever left meanwhile is not in the lane any more.
        if one not in self._long:
            return
        self._long.remove(one)
        if found is None:
            self._long.append(one)
        else:
            _give(one, found)
            self._trim(one.frames)

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a call of the model, and measures it."""
        with self._metrics.model_seconds.time():
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _trim(self, frames: int) -> None:
        self._untrimmed += frames
        if self._untrimmed >= FRAMES_BETWEEN_TRIMS:
            self._untrimmed = 0
            self._thread.submit(give_back_memory)


def _give(one: _Waiting, found: Result | Exception) -> None:
    """Hands over what was found, if anybody still waits for it."""
    if one.result.done():
        return
    if isinstance(found, Exception):
        one.result.set_exception(found)
    else:
        one.result.set_result(found)
