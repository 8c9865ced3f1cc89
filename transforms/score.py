"""Batches of spectrograms become frame scores in Beam's RunInference."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from model.bundle import BundleError
from model.features import NUM_BINS
from model.runtime import start_tensorflow
from transforms.bundles import find_bundle
from transforms.records import (
    REJECTS,
    AudioFault,
    FeaturizedUtterance,
    Reason,
    Reject,
    ScoredUtterance,
    Stage,
    Utterance,
)

if TYPE_CHECKING:
    from model.scorer import Scorer

Batch = list[FeaturizedUtterance]
Result = ScoredUtterance | Reject


class ScorerHandler(ModelHandler[Batch, list[Result], "Scorer"]):
    """Runs a bundle's network on batches that are already made: one element of RunInference is one batch.

    Args:
        model: a bundled model's name, or the folder of a bundle, local or in any filesystem that Beam knows.
        threads: of TensorFlow in this process. One, where several processes share the cores; None for its own choice.
        bundle_hash: what the bundle must be; None for whatever it is.
    """

    def __init__(self, model: str, threads: int | None = 1, bundle_hash: str | None = None) -> None:
        super().__init__()
        self._model = model
        self._threads = threads
        self._bundle_hash = bundle_hash

    def load_model(self) -> Scorer:
        """Loads the bundle; TensorFlow is imported here, on the worker, and not where the job is launched."""
        return _load(self._model, self._threads, self._bundle_hash)

    def run_inference(
        self,
        batch: Sequence[Batch],
        model: Scorer,
        inference_args: Mapping[str, Any] | None = None,  # noqa: ARG002 -- Beam's signature
    ) -> list[list[Result]]:
        """Scores each batch: as many lists as batches, each with a result for every utterance."""
        return [score_batch(items, model) for items in batch]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Keeps Beam from batching batches."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_num_bytes(self, batch: Sequence[Batch]) -> int:
        """Bytes of the spectrograms, for Beam's metrics."""
        return 4 * NUM_BINS * sum(len(item.spectrogram) for items in batch for item in items)


@functools.cache
def _load(model: str, threads: int | None, bundle_hash: str | None) -> Scorer:
    """A process that works through many waves loads a bundle once."""
    bundle = find_bundle(model)
    if bundle_hash not in (None, bundle.hash):
        raise BundleError(f"model {model}: it is {bundle.model_id} here, and the job was started with @{bundle_hash}")
    start_tensorflow(threads)
    from model.scorer import Scorer

    return Scorer(bundle)


def score_batch(batch: Batch, scorer: Scorer) -> list[Result]:
    """Scores a batch; if TensorFlow fails on it, each utterance alone, so that one costs no other its score.

    Returns:
        A result for each utterance, in order; the spectrograms are gone.
    """
    import tensorflow as tf  # loaded with the scorer; the launcher does without it

    failures = (tf.errors.ResourceExhaustedError, tf.errors.InvalidArgumentError, tf.errors.InternalError)
    try:
        scores = scorer.score([item.spectrogram for item in batch])
    except failures as error:
        if len(batch) > 1:
            return [result for item in batch for result in score_batch([item], scorer)]
        fault = AudioFault(Stage.SCORE, Reason.MODEL_FAILED, f"{type(error).__name__}: {error.message}")
        return [Reject.of(batch[0].utterance.ref, fault)]
    return [_result(item.utterance, frame_score) for item, frame_score in zip(batch, scores, strict=True)]


def _result(utterance: Utterance, frame_score: np.ndarray) -> Result:
    if not np.isfinite(frame_score).all():
        fault = AudioFault(Stage.SCORE, Reason.MODEL_FAILED, "the network returned a score that is not finite")
        return Reject.of(utterance.ref, fault)
    return ScoredUtterance(utterance, frame_score)


class SplitResults(beam.DoFn):
    """Lists of results -> `ScoredUtterance`s, and `Reject`s on the output `REJECTS`."""

    def process(self, results: list[Result]) -> Iterable[Any]:
        """Takes one batch apart."""
        for result in results:
            yield beam.pvalue.TaggedOutput(REJECTS, result) if isinstance(result, Reject) else result
