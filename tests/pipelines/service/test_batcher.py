"""Dynamic batching, with the real model and no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from model.bundle import DEFAULT
from model.features import NUM_BINS
from pipelines.service.batcher import Batcher
from pipelines.service.capacity import CapacityError, CapacityLimit, RequestShare
from pipelines.service.metrics import Metrics
from pipelines.service.settings import Settings
from tests.support.outputs import scored
from transforms.elements import FeaturizedUtterance, ScoredUtterance
from transforms.scoring.batching import BatchLimits
from transforms.scoring.inference import ScorerHandler

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scorer():
    return ScorerHandler(DEFAULT, threads=None).load_model()


def item(shown_frames: int, seed: int = 0, width: int = NUM_BINS) -> FeaturizedUtterance:
    """Returns an utterance of so many frames, all of which the network gets."""
    spectrogram = np.random.default_rng(seed).normal(0, 1, (shown_frames, width)).astype(np.float32)
    utterance = scored(f"{shown_frames} {seed}", np.ones(shown_frames)).utterance
    return FeaturizedUtterance(utterance, spectrogram)


def shown_scores(result: ScoredUtterance) -> np.ndarray:
    """Returns the scores of the frames that the network gets."""
    return result.frame_score[result.utterance.frame_facts.activity.shown]


class Recorder:
    """A model that records the lengths of each call."""

    def __init__(self, scorer) -> None:
        self._scorer = scorer
        self.whole_frames, self.bundle = scorer.whole_frames, scorer.bundle
        self.calls: list[list[int] | str] = []
        self.may_run = threading.Event()
        self.may_run.set()

    def score(self, spectrograms):
        self.calls.append([len(one) for one in spectrograms])
        self.may_run.wait()
        return self._scorer.score(spectrograms)

    def score_in_parts(self, spectrogram):
        for part in self._scorer.score_in_parts(spectrogram):
            self.calls.append("step")
            yield part


@contextlib.asynccontextmanager
async def working(recorder: Recorder, **settings) -> AsyncIterator[Batcher]:
    batcher = Batcher(recorder, dataclasses.replace(Settings(), **settings), Metrics("test"))
    work = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


def run(scorer, items: Sequence[FeaturizedUtterance], **settings) -> tuple[list, list]:
    """Scores recordings concurrently; returns the results and the model calls."""

    async def together():
        recorder = Recorder(scorer)
        async with working(recorder, **settings) as batcher:
            found = await asyncio.gather(*(batcher.score(one) for one in items), return_exceptions=True)
            assert batcher.waiting == (0, 0)
            return found, recorder.calls

    return asyncio.run(together())


def test_each_recording_gets_its_scores_and_batches_have_similar_lengths(scorer):
    items = [item(frames, seed) for seed, frames in enumerate([30, 300, 31, 310, 29, 305] * 3)]
    found, calls = run(scorer, items, batch=BatchLimits(batch_size=64, batch_frames=3_000))
    for one, result in zip(items, found, strict=True):
        np.testing.assert_allclose(shown_scores(result), scorer.score([one.spectrogram])[0].score, atol=1e-4)
    assert sum(map(len, calls)) == len(items)
    assert len(calls) < 5
    assert all(len(call) * max(call) <= 3_000 for call in calls)


def test_the_batch_with_the_oldest_recording_is_scored_first(scorer):
    _, calls = run(scorer, [item(20), *(item(1_000, seed) for seed in range(5))], batch=BatchLimits(batch_frames=2_000))
    assert 20 in calls[0]


def test_a_full_batch_is_scored_at_once(scorer):
    begun = time.monotonic()
    _, calls = run(scorer, [item(20, seed) for seed in range(4)], batch=BatchLimits(batch_size=4), max_wait_s=1_000)
    assert calls == [[20] * 4]
    assert time.monotonic() - begun < 500


def test_recordings_that_arrive_during_the_wait_share_the_call(scorer):
    async def one_after_the_other():
        recorder = Recorder(scorer)
        async with working(recorder, max_wait_s=2.0) as batcher:
            first = asyncio.create_task(batcher.score(item(20)))
            await asyncio.sleep(0.05)
            await asyncio.gather(first, batcher.score(item(25)))
        return recorder.calls

    assert asyncio.run(one_after_the_other()) == [[25, 20]]


def test_arrivals_do_not_prolong_the_wait_of_the_first_recording(scorer):
    async def trickling():
        limits = BatchLimits(batch_size=10_000)
        async with working(Recorder(scorer), batch=limits, max_wait_s=0.5) as batcher:
            first, others = asyncio.create_task(batcher.score(item(20))), []
            while not first.done() and len(others) < 500:
                others.append(asyncio.create_task(batcher.score(item(20))))
                await asyncio.sleep(0.05)
            await asyncio.gather(first, *others)
        return len(others)

    assert asyncio.run(trickling()) < 500


def test_a_bug_in_the_queue_fails_every_recording(scorer, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async def breaking():
        batcher = Batcher(Recorder(scorer), Settings(), Metrics("test"))
        work = asyncio.create_task(batcher.run())
        async with asyncio.timeout(60):
            frames = (20, 30, scorer.whole_frames + 1)
            waiting = await asyncio.gather(*(batcher.score(item(one)) for one in frames), return_exceptions=True)
            with pytest.raises(ZeroDivisionError):
                await work
            with pytest.raises(ZeroDivisionError):
                await batcher.score(item(20))
        return waiting

    monkeypatch.setattr("pipelines.service.batcher.cut_batches", broken)
    assert [type(one) for one in asyncio.run(breaking())] == [ZeroDivisionError] * 3


def test_a_bug_beside_the_model_call_costs_one_batch(scorer, monkeypatch):
    async def failing():
        async with asyncio.timeout(60), working(Recorder(scorer)) as batcher:
            with monkeypatch.context() as patch:
                patch.setattr(batcher._metrics.padding, "observe", lambda _: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    await batcher.score(item(20))
            return await batcher.score(item(20))

    assert len(shown_scores(asyncio.run(failing()))) == 20


def test_a_disconnect_during_the_model_call_costs_no_other_recording(scorer):
    async def leaving():
        recorder = Recorder(scorer)
        recorder.may_run.clear()
        async with asyncio.timeout(60), working(recorder) as batcher:
            leaver = asyncio.create_task(batcher.score(item(20)))
            stayer = asyncio.create_task(batcher.score(item(30)))
            while not recorder.calls:
                await asyncio.sleep(0.01)
            leaver.cancel()
            await asyncio.wait({leaver})
            recorder.may_run.set()
            return [len(shown_scores(await stayer)), len(shown_scores(await batcher.score(item(40))))]

    assert asyncio.run(leaving()) == [30, 40]


def test_a_recording_whose_client_disconnects_is_not_scored(scorer):
    async def leaving():
        recorder = Recorder(scorer)
        async with working(recorder, max_wait_s=1.0) as batcher:
            leaver = asyncio.create_task(batcher.score(item(20)))
            stayer = asyncio.create_task(batcher.score(item(30)))
            await asyncio.sleep(0.05)
            leaver.cancel()
            await stayer
            assert leaver.cancelled()
            assert batcher.waiting == (0, 0)
        return recorder.calls

    assert asyncio.run(leaving()) == [[30]]


def test_long_recordings_alternate_with_each_other_and_with_short_ones(scorer):
    longs = [item(9_000, 1), item(8_000, 2)]

    async def scene():
        recorder = Recorder(scorer)
        async with working(recorder, max_wait_s=1_000) as batcher:
            waiting = [asyncio.create_task(batcher.score(one)) for one in longs]
            while len(recorder.calls) < 3:
                await asyncio.sleep(0)
            for seed in range(3):
                await batcher.score(item(20, seed))
            assert not any(task.done() for task in waiting), "short ones wait for no long one"
            await waiting[1]
            assert not waiting[0].done(), "one of 7 steps waits for none of 9 that came before it"
            return await asyncio.gather(*waiting), recorder.calls

    found, calls = asyncio.run(scene())
    for one, result in zip(longs, found, strict=True):
        np.testing.assert_allclose(shown_scores(result), scorer.score([one.spectrogram])[0].score, atol=1e-4)
    assert calls.count("step") == 9 + 7


def test_short_recordings_do_not_starve_a_long_one(scorer):
    async def scene():
        async with working(Recorder(scorer), batch=BatchLimits(batch_size=1)) as batcher:
            long = asyncio.create_task(batcher.score(item(8_000)))

            async def ask() -> None:
                for seed in range(20):
                    await batcher.score(item(20, seed))

            await asyncio.gather(ask(), ask())
            return long.done()

    assert asyncio.run(scene()), "7 steps among 40 batches"


def test_a_long_recording_whose_client_disconnects_is_scored_no_further(scorer):
    async def leaving():
        recorder = Recorder(scorer)
        async with working(recorder) as batcher:
            task = asyncio.create_task(batcher.score(item(20_000)))
            while not recorder.calls:
                await asyncio.sleep(0)
            task.cancel()
            await batcher.score(item(20))
            assert batcher.waiting == (0, 0)
            return recorder.calls

    assert asyncio.run(leaving()).count("step") <= 3


def test_a_bug_costs_its_batch_and_no_later_one(scorer, caplog):
    async def scene():
        async with working(Recorder(scorer)) as batcher:
            with pytest.raises(ValueError, match="broadcast"):
                await batcher.score(item(20, width=3))
            with pytest.raises((ValueError, TypeError), match="shape"):
                await batcher.score(item(9_000, width=3))
            return await batcher.score(item(20))

    assert len(shown_scores(asyncio.run(scene()))) == 20
    assert "the model failed" in caplog.text


def test_the_retry_time_is_estimated_from_the_queue(scorer):
    async def scene():
        async with working(Recorder(scorer), max_wait_s=0.5) as batcher:
            assert batcher.retry_after_s == 1
            await asyncio.gather(*(batcher.score(item(300, seed)) for seed in range(8)))
            waiting = [asyncio.create_task(batcher.score(item(7_000, seed))) for seed in range(60)]
            await asyncio.sleep(0)
            assert batcher.waiting == (60, 420_000)
            found = batcher.retry_after_s
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            return found

    assert 1 < asyncio.run(scene()) <= 60


class TestCapacity:
    def test_an_amount_that_does_not_fit_takes_nothing(self):
        capacity = CapacityLimit(10)
        with capacity.acquired(6):
            with pytest.raises(CapacityError):
                capacity.acquire(5)
            assert capacity.used == 6
        assert capacity.used == 0

    def test_an_exception_releases_the_amount(self):
        capacity = CapacityLimit(10)
        with pytest.raises(ZeroDivisionError), capacity.acquired(10):
            _ = 1 // 0
        assert capacity.used == 0

    def test_recordings_of_a_request_wait_for_each_other_only(self):
        async def scene():
            capacity = CapacityLimit(10)
            mine, others = RequestShare(capacity), RequestShare(capacity)
            await mine.acquire(4)
            await others.acquire(4)
            waiting = asyncio.create_task(mine.acquire(6))
            await asyncio.sleep(0)
            assert not waiting.done()
            mine.release(4)
            await waiting
            assert capacity.used == 10
            with pytest.raises(CapacityError):
                await RequestShare(capacity).acquire(1)
            # A request that holds nothing does not wait.
            last = asyncio.create_task(others.acquire(5))
            await asyncio.sleep(0)
            others.release(4)
            with pytest.raises(CapacityError):
                await last
            mine.release(6)
            assert capacity.used == 0

        asyncio.run(scene())


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_frames": 1_000}, "a recording of 3600 s has 225000 frames"),
        ({"max_upload_bytes": 1 << 40}, "an upload may have"),
    ],
)
def test_limits_that_allow_no_request_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Settings(), **limits)
