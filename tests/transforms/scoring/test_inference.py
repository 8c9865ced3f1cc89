"""Every utterance of a batch gets a result, even if TensorFlow fails on some of them."""

from __future__ import annotations

import dataclasses
import pickle

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.internal import pickler as beam_pickler
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.ml.inference.base import RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from model.bundle import BundleError
from model.frame_estimates import FrameEstimates
from transforms.elements import REJECTS, FeaturizedUtterance, Reject, ScoredUtterance
from transforms.errors import Reason, Stage
from transforms.scoring.inference import WORK, ScoredBatch, ScorerHandler, SplitResults, score_batch
from transforms.telemetry import NAMESPACE, Work


@pytest.fixture(scope="module")
def handler(bundle) -> ScorerHandler:
    return ScorerHandler(str(bundle))


@pytest.fixture(scope="module")
def scorer(handler):
    return handler.load_model()


@pytest.fixture
def batch(make_featurized):
    return [make_featurized(f"{name}.wav", 5 + 3 * seed, seed) for seed, name in enumerate("abcd")]


def ids(results) -> list[str]:
    return [
        result.utterance_id if isinstance(result, Reject) else result.utterance.ref.utterance_id for result in results
    ]


class FailsOn:
    """A scorer that gives every frame 2.5, and raises `error` for the batches that `fails` selects."""

    def __init__(self, error: Exception, fails) -> None:
        self.error = error
        self.fails = fails
        self.calls: list[int] = []

    def score(self, spectrograms):
        self.calls.append(len(spectrograms))
        if self.fails(spectrograms):
            raise self.error
        return [FrameEstimates(np.full(len(one), 2.5, np.float32), None) for one in spectrograms]


def out_of_memory() -> Exception:
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


class TestHandler:
    def test_each_batch_has_a_result_and_each_frame_a_score(self, handler, scorer, batch):
        batches = [batch[:1], batch[1:], batch[:2]]
        results = handler.run_inference(batches, scorer)
        assert [ids(found.results) for found in results] == [ids_of(items) for items in batches]
        for items, found in zip(batches, results, strict=True):
            for item, result in zip(items, found.results, strict=True):
                assert isinstance(result, ScoredUtterance)
                assert result.utterance is item.utterance
                assert result.frame_score.shape == (len(item.spectrogram),)
                assert result.frame_score.dtype == np.float32
                assert np.isfinite(result.frame_score).all()

    def test_a_score_does_not_depend_on_the_batch(self, scorer, batch):
        together = score_batch(batch, scorer)
        for item, result in zip(batch, together, strict=True):
            (alone,) = score_batch([item], scorer)
            np.testing.assert_allclose(alone.frame_score, result.frame_score, atol=1e-4)

    def test_utterances_do_not_all_score_the_same(self, scorer, batch):
        assert len({float(result.frame_score.mean()) for result in score_batch(batch, scorer)}) == len(batch)

    def test_no_batch_gives_no_result(self, handler, scorer):
        assert handler.run_inference([], scorer) == []
        assert [found.results for found in handler.run_inference([[]], scorer)] == [[]]

    def test_the_work_of_a_batch_is_known(self, handler, scorer, batch):
        items = [dataclasses.replace(item, decode_s=0.5, features_s=0.25) for item in batch]
        (work,) = (found.work for found in handler.run_inference([items], scorer))
        assert (work.batches, work.utterances, work.frames, work.padded_frames) == (1, 4, 5 + 8 + 11 + 14, 4 * 14)
        assert (work.decode_s, work.features_s) == (2.0, 1.0)
        assert work.model_s > 0
        assert work.padding == pytest.approx(1 - 38 / 56)

    @pytest.mark.parametrize("pickler", [pickle, beam_pickler])
    def test_it_is_pickled_without_loading_the_model(self, handler, scorer, batch, pickler):
        there = pickler.loads(pickler.dumps(handler))
        (found,) = there.run_inference([batch], there.load_model())
        for one, two in zip(found.results, score_batch(batch, scorer), strict=True):
            np.testing.assert_array_equal(one.frame_score, two.frame_score)

    def test_its_pickle_holds_no_weights(self, handler):
        assert len(pickle.dumps(handler)) < 2_000

    def test_a_missing_model_is_an_error_and_not_a_reject(self, tmp_path):
        with pytest.raises(BundleError, match="no model"):
            ScorerHandler(str(tmp_path)).load_model()

    def test_beam_makes_no_batches_of_batches(self, handler):
        assert handler.batch_elements_kwargs() == {"min_batch_size": 1, "max_batch_size": 1}

    def test_its_bytes_are_those_of_the_spectrograms(self, handler, batch):
        assert handler.get_num_bytes([batch, batch[:1]]) == 257 * 4 * (5 + 8 + 11 + 14 + 5)


def ids_of(items) -> list[str]:
    return [item.utterance.ref.utterance_id for item in items]


class TestFailures:
    def test_a_batch_that_does_not_fit_into_memory_is_scored_one_by_one(self, batch):
        scorer = FailsOn(out_of_memory(), lambda spectrograms: len(spectrograms) > 1)
        results = score_batch(batch, scorer)
        assert scorer.calls == [4, 1, 1, 1, 1]
        assert ids(results) == ids_of(batch)
        assert all(isinstance(result, ScoredUtterance) for result in results)

    @pytest.mark.parametrize("kind", ["ResourceExhaustedError", "InvalidArgumentError", "InternalError"])
    @pytest.mark.parametrize("place", [0, 2, 3])
    def test_an_utterance_that_always_fails_costs_no_other_its_score(self, batch, kind, place):
        import tensorflow as tf

        poison = batch[place].spectrogram
        error = getattr(tf.errors, kind)(None, None, "it will not do")
        scorer = FailsOn(error, lambda spectrograms: any(item is poison for item in spectrograms))
        results = score_batch(batch, scorer)
        assert ids(results) == ids_of(batch)
        rejects = [result for result in results if isinstance(result, Reject)]
        assert rejects == [results[place]]
        assert (rejects[0].stage, rejects[0].reason) == (Stage.SCORE, Reason.MODEL_FAILED)
        assert rejects[0].detail == f"{kind}: it will not do"
        assert rejects[0].source_version == batch[place].utterance.ref.source_version

    def test_a_single_utterance_that_fails_is_not_retried(self, batch):
        scorer = FailsOn(out_of_memory(), lambda _: True)
        (reject,) = score_batch(batch[:1], scorer)
        assert isinstance(reject, Reject)
        assert scorer.calls == [1]

    @pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError(), KeyError("x")])
    def test_a_bug_is_not_taken_for_a_fault_of_the_recording(self, batch, error):
        with pytest.raises(type(error)):
            score_batch(batch, FailsOn(error, lambda _: True))

    def test_a_scorer_that_loses_a_result_is_noticed(self, batch):
        scorer = FailsOn(out_of_memory(), lambda _: False)
        complete = scorer.score
        scorer.score = lambda spectrograms: complete(spectrograms)[:-1]
        with pytest.raises(ValueError, match="shorter"):
            score_batch(batch, scorer)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_score_that_is_not_finite_rejects_one_utterance(self, batch, value):
        scorer = FailsOn(out_of_memory(), lambda _: False)
        scores = scorer.score([item.spectrogram for item in batch])
        scores[1].score[2] = value
        scorer.score = lambda _: scores
        results = score_batch(batch, scorer)
        assert [isinstance(result, Reject) for result in results] == [False, True, False, False]
        assert (results[1].stage, results[1].reason) == (Stage.SCORE, Reason.MODEL_FAILED)
        assert "not finite" in results[1].detail


def test_split_results_takes_scores_and_rejects_apart(make_utterance):
    scored = ScoredUtterance(make_utterance("a.wav"), np.ones(3, np.float32))
    reject = Reject("/b.wav", "b.wav", "1-1", Stage.SCORE, Reason.MODEL_FAILED, "it will not do")
    dofn = SplitResults()
    dofn.start_bundle()
    work = Work(batches=1, utterances=2, frames=6, padded_frames=6)
    first, second = dofn.process(ScoredBatch([scored, reject], work))
    assert first is scored
    assert (second.tag, second.value) == (REJECTS, reject)
    list(dofn.process(ScoredBatch([scored], work)))
    (total,) = dofn.finish_bundle()
    assert (total.tag, Work.of_sums(total.value.value)) == (WORK, work + work)
    dofn.start_bundle()
    assert list(dofn.finish_bundle()) == []


def test_in_a_pipeline_every_utterance_comes_out_scored_or_rejected(bundle, scorer, make_featurized):
    batches = [[make_featurized(f"{i}-{j}", 4 + i, seed=10 * i + j) for j in range(1 + i)] for i in range(4)]
    batches[2][1].spectrogram[0, 0] = np.nan
    expected = {
        item.utterance.ref.utterance_id: scorer.score([item.spectrogram])[0].score
        for items in batches
        for item in items
    }
    del expected["2-1"]

    def check_scored(results):
        assert sorted(ids(results)) == sorted(expected)
        for result in results:
            alone = expected[result.utterance.ref.utterance_id]
            np.testing.assert_allclose(result.frame_score, alone, atol=1e-4)

    def check_rejects(results):
        assert ids(results) == ["2-1"]

    with beam.Pipeline(runner=FnApiRunner()) as root:
        results = (
            root
            | beam.Create(range(len(batches)))
            | beam.Map(batches.__getitem__).with_output_types(list[FeaturizedUtterance])
            | RunInference(ScorerHandler(str(bundle)))
            | beam.ParDo(SplitResults()).with_outputs(REJECTS, WORK, main="scored")
        )
        assert_that(results.scored, check_scored, label="scored")
        assert_that(results[REJECTS], check_rejects, label="rejects")
    found = root.result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    counters = {metric.key.metric.name: metric.committed for metric in found["counters"]}
    frames = [[len(item.spectrogram) for item in items] for items in batches]
    assert counters == {
        "frames": sum(map(sum, frames)),
        "padding_frames": sum(len(n) * max(n) - sum(n) for n in frames),
    }
