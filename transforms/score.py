"""Batches of spectrograms become frame scores in Beam's RunInference."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from model.features import NUM_BINS
from model.runtime import start_tensorflow
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
        model: a bundled model's name, or the folder of a bundle.
        threads: of TensorFlow in this process. One, where several processes share the cores; None for its own choice.
    """

    def __init__(self, model: str, threads: int | None = 1) -> None:
        super().__init__()
        self._model = model
        self._threads = threads

    def load_model(self) -> Scorer:
        """Loads the bundle; TensorFlow is imported here, on the worker, and not where the job is launched."""
        return _load(self._model, self._threads)

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
def _load(model: str, threads: int | None) -> Scorer:
    """A process that works through many waves loads a bundle once."""
    start_tensorflow(threads)
    from model.scorer import Scorer

    return Scorer(model)


def score_batch(batch: Batch, scorer: Scorer) -> list[Result]:
    """Scores a batch; if TensorFlow fails on it, each utterance alone, so that one costs no other its score.

    Returns:
        A result for each utterance, in order; the spectrograms are gone.
    """
    try:
        scores = scorer.score([item.spectrogram for item in batch])
    except _failures() as error:
        if len(batch) > 1:
            return [result for item in batch for result in score_batch([item], scorer)]
        return [_failed(batch[0].utterance, error)]
    return [_result(item.utterance, frame_score) for item, frame_score in zip(batch, scores, strict=True)]


def score_in_parts(item: FeaturizedUtterance, scorer: Scorer) -> Iterator[Result | None]:
    """Scores one long recording in steps, for a caller who has other things to do in between.

    Args:
        item: with more frames than `scorer.whole_frames`.
        scorer: what scores.

    Yields:
        None after each step, and at last the result.
    """
    found = []
    try:
        for scores in scorer.score_in_parts(item.spectrogram):
            found.append(scores)
            yield None
    except _failures() as error:
        yield _failed(item.utterance, error)
        return
    yield _result(item.utterance, np.concatenate(found))


def _failures() -> tuple[type[Exception], ...]:
    import tensorflow as tf  # loaded with the scorer; the launcher does without it

    return (tf.errors.ResourceExhaustedError, tf.errors.InvalidArgumentError, tf.errors.InternalError)


def _failed(utterance: Utterance, error: Exception) -> Reject:
    detail = f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return Reject.of(utterance.ref, AudioFault(Stage.SCORE, Reason.MODEL_FAILED, detail))


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
