"""Groups utterances of similar length into batches, so that little of each model call is padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from model.runtime import release_memory
from transforms.elements import FeaturizedUtterance


@dataclasses.dataclass(frozen=True, slots=True)
class BatchLimits:
    """Limits of a batch, and of the pool of utterances that is cut into batches.

    Attributes:
        batch_size: largest number of utterances in a batch.
        batch_frames: largest number of padded frames in a batch (count x longest); a longer utterance is a batch of its own.
        pool_frames: number of frames to collect and sort by length before they are cut into batches. It bounds the memory: a
            frame takes about 1 kB.
    """

    batch_size: int = 64
    batch_frames: int = 12_288
    pool_frames: int = 32_768


def cut_batches(lengths: Sequence[int], limits: BatchLimits) -> list[list[int]]:
    """Cuts utterances into batches by length.

    Args:
        lengths: number of frames of each utterance.
        limits: limits of a batch.

    Returns:
        Lists of indices into `lengths`, each index once, longest utterances first.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        batch = batches[-1] if batches else []
        # The first utterance of a batch is its longest, since they are sorted by length.
        if batch and len(batch) < limits.batch_size and (len(batch) + 1) * lengths[batch[0]] <= limits.batch_frames:
            batch.append(index)
        else:
            batches.append([index])
    return batches


@beam.typehints.with_output_types(list[FeaturizedUtterance])
class BatchByLength(beam.DoFn):
    """`FeaturizedUtterance` -> lists of them, of similar length. Keeps nothing after the end of a bundle.

    Args:
        limits: limits of a batch and of the pool.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits

    def start_bundle(self) -> None:
        """Empties the pool, also after a failed bundle."""
        self._pool: list[FeaturizedUtterance] = []
        self._frames = 0

    def process(self, utterance: FeaturizedUtterance) -> Iterable[list[FeaturizedUtterance]]:
        """Adds an utterance to the pool; outputs all batches of the pool when it is full."""
        self._pool.append(utterance)
        self._frames += len(utterance.spectrogram) * (1 + len(utterance.alternatives))
        if self._frames >= self.limits.pool_frames:
            yield from self._cut()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        """Outputs the batches of the remaining utterances."""
        for batch in self._cut():
            yield GlobalWindows.windowed_value_at_end_of_window(batch)

    def _cut(self) -> Iterable[list[FeaturizedUtterance]]:
        pool = self._pool
        self.start_bundle()
        for batch in cut_batches([len(utterance.spectrogram) for utterance in pool], self.limits):
            yield [pool[index] for index in batch]
        release_memory()
