"""Turns batches of spectrograms into frame scores and diagnoses, in Beam's RunInference or without it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler
from apache_beam.transforms.window import GlobalWindows

from model.bundle import BundleError
from model.features import NUM_BINS
from model.frame_estimates import FrameEstimates
from model.quick_imports import quick_imports
from model.runtime import start_tensorflow
from transforms import telemetry
from transforms.elements import REJECTS, FeaturizedUtterance, Reject, ScoredUtterance, Utterance
from transforms.errors import AudioFault, Reason, Stage
from transforms.scoring.best_channel import best_channel
from transforms.scoring.bundles import find_bundle
from transforms.telemetry import Work

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

# Tag of the `Work` output of `SplitResults`.
WORK = "work"

Batch = list[FeaturizedUtterance]
Result = ScoredUtterance | Reject


@dataclasses.dataclass(frozen=True, slots=True)
class ScoredBatch:
    """The results of a batch, without its spectrograms.

    Attributes:
        results: score or reject of each utterance, in order.
        work: time and number of frames of the batch.
    """

    results: list[Result]
    work: Work


class ScorerHandler(ModelHandler[Batch, ScoredBatch, "Scorer"]):
    """Runs a bundle's network on finished batches: one element of RunInference is one batch.

    Args:
        model: name of a bundled model, or folder of a bundle, local or in any filesystem that Beam knows.
        threads: TensorFlow threads of this process: 1 if several processes share the cores; None for TensorFlow's default.
        bundle_hash: hash that the bundle must have; None to accept any.
    """

    def __init__(self, model: str, threads: int | None = 1, bundle_hash: str | None = None) -> None:
        super().__init__()
        self._model = model
        self._threads = threads
        self._bundle_hash = bundle_hash

    def load_model(self) -> Scorer:
        """Loads the model on a worker, because the launcher must not import TensorFlow."""
        return load_scorer(self._model, self._threads, self._bundle_hash)

    def run_inference(
        self,
        batch: Sequence[Batch],
        model: Scorer,
        inference_args: Mapping[str, Any] | None = None,  # noqa: ARG002 -- Beam's signature
    ) -> list[ScoredBatch]:
        """Returns one result per batch."""
        return [_timed(items, model) for items in batch]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Stops Beam from batching batches."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_num_bytes(self, batch: Sequence[Batch]) -> int:
        """Returns the size of the spectrograms in bytes, for Beam's metrics."""
        return 4 * NUM_BINS * sum(len(item.spectrogram) for items in batch for item in items)


@functools.cache
def load_scorer(model: str, threads: int | None = 1, bundle_hash: str | None = None) -> Scorer:
    """Loads TensorFlow and a model; each model is loaded once per process.

    Args:
        model: name of a bundled model, or folder of a bundle, local or in any filesystem that Beam knows.
        threads: TensorFlow threads of this process; None for TensorFlow's default.
        bundle_hash: hash that the bundle must have; None to accept any.

    Raises:
        BundleError: the bundle cannot be used, or has another hash.
    """
    started = time.perf_counter()
    bundle = find_bundle(model)
    if bundle_hash not in (None, bundle.hash):
        raise BundleError(
            f"model {model} is {bundle.model_id} on this machine, but the job was started with @{bundle_hash}"
        )
    with quick_imports():
        start_tensorflow(threads)
        from model.inference.scorer import Scorer

        scorer = Scorer(bundle)
    load_s = round(time.perf_counter() - started, 3)
    telemetry.log(logging.INFO, "model loaded", model_id=bundle.model_id, seconds=load_s)
    return scorer


def _timed(batch: Batch, scorer: Scorer) -> ScoredBatch:
    started = time.perf_counter()
    results = score_batch(batch, scorer)
    model_s = time.perf_counter() - started
    lengths = [len(channel.spectrogram) for item in batch for channel in (item, *item.alternatives)]
    work = Work(
        batches=1,
        utterances=len(batch),
        frames=sum(lengths),
        padded_frames=len(lengths) * max(lengths, default=0),
        decode_s=sum(item.decode_s for item in batch),
        features_s=sum(item.features_s for item in batch),
        model_s=model_s,
    )
    return ScoredBatch(results, work)


def score_batch(batch: Batch, scorer: Scorer) -> list[Result]:
    """Scores a batch. If TensorFlow fails, scores each utterance alone, so that one failure rejects one utterance only.

    Returns:
        A result for each utterance, in order, without its spectrogram.
    """
    if any(item.alternatives for item in batch):
        return _score_alternatives(batch, scorer)
    try:
        estimates = scorer.score([item.spectrogram for item in batch])
    except _tensorflow_errors() as error:
        if len(batch) > 1:
            return [result for item in batch for result in score_batch([item], scorer)]
        return [_failed(batch[0].utterance, error)]
    return [_result(item.utterance, one) for item, one in zip(batch, estimates, strict=True)]


def _score_alternatives(batch: Batch, scorer: Scorer) -> list[Result]:
    """Scores all channels of a batch, and returns the best channel of each utterance."""
    channels = [[dataclasses.replace(item, alternatives=()), *item.alternatives] for item in batch]
    results = iter(score_batch(list(itertools.chain.from_iterable(channels)), scorer))
    return [best_channel(list(itertools.islice(results, len(one))), scorer.bundle) for one in channels]


def score_in_parts(item: FeaturizedUtterance, scorer: Scorer) -> Iterator[Result | None]:
    """Scores a long utterance in steps, so that the caller can do other work between them.

    Args:
        item: utterance with more than `scorer.whole_frames` frames.
        scorer: the model.

    Yields:
        None after each step, then the result.
    """
    results: list[Result] = []
    for channel in (item, *item.alternatives):
        parts = []
        try:
            for part in scorer.score_in_parts(channel.spectrogram):
                parts.append(part)
                yield None
        except _tensorflow_errors() as error:
            results.append(_failed(channel.utterance, error))
            continue
        results.append(_result(channel.utterance, FrameEstimates.joined(parts)))
    yield best_channel(results, scorer.bundle)


def _tensorflow_errors() -> tuple[type[Exception], ...]:
    import tensorflow as tf  # already loaded with the scorer; the launcher must not load it

    return (tf.errors.ResourceExhaustedError, tf.errors.InvalidArgumentError, tf.errors.InternalError)


def _failed(utterance: Utterance, error: Exception) -> Reject:
    detail = f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return Reject.of(utterance.ref, AudioFault(Stage.SCORE, Reason.MODEL_FAILED, detail))


def _result(utterance: Utterance, estimates: FrameEstimates) -> Result:
    score, diagnosis = estimates.score, estimates.diagnosis
    if not np.isfinite(score).all() or (diagnosis is not None and not np.isfinite(diagnosis.values).all()):
        fault = AudioFault(Stage.SCORE, Reason.MODEL_FAILED, "the network returned a value that is not finite")
        return Reject.of(utterance.ref, fault)
    activity = utterance.frame_facts.activity
    return ScoredUtterance(utterance, activity.expand(score), None if diagnosis is None else diagnosis.expand(activity))


class SplitResults(beam.DoFn):
    """`ScoredBatch` -> `ScoredUtterance`s, with `Reject`s on the output `REJECTS` and the `Work` of a bundle on `WORK`."""

    def start_bundle(self) -> None:
        """Resets the sum, also after a failed bundle."""
        self._work = Work()

    def process(self, batch: ScoredBatch) -> Iterable[Any]:
        """Outputs the results of a batch one by one."""
        work = batch.work
        self._work += work
        telemetry.observe("batch_size", work.utterances)
        telemetry.observe("model_ms", 1e3 * work.model_s)
        telemetry.count("frames", work.frames)
        telemetry.count("padding_frames", work.padded_frames - work.frames)
        for result in batch.results:
            yield beam.pvalue.TaggedOutput(REJECTS, result) if isinstance(result, Reject) else result

    def finish_bundle(self) -> Iterable[beam.pvalue.TaggedOutput]:
        """Outputs the work of the bundle."""
        if self._work.batches:
            yield beam.pvalue.TaggedOutput(WORK, GlobalWindows.windowed_value_at_end_of_window(self._work.sums()))
