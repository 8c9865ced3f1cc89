"""Groups utterances of similar length into batches, so that little of each model call is padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from model.runtime import release_memory
from transforms.elements import FeaturizedUtterance

# Time of the network for a frame of a batch of any size, relative to that for a frame of one more utterance.
STEP_COST = 8


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
    """Cuts utterances into the batches by length that the network scores fastest.

    Args:
        lengths: number of frames of each utterance.
        limits: limits of a batch.

    Returns:
        Lists of indices into `lengths`, each index once, longest utterances first.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    # Smallest cost of the first 0, 1, 2, ... utterances, and the first utterance of the last batch of each.
    costs, firsts = [0], [0]
    for end in range(1, len(order) + 1):
        options = []
        for first in range(end - 1, max(end - limits.batch_size, 0) - 1, -1):
            size, longest = end - first, lengths[order[first]]
            if size > 1 and size * longest > limits.batch_frames:
                break
            options.append((costs[first] + longest * (size + STEP_COST), first))
        cost, first = min(options)
        costs.append(cost)
        firsts.append(first)
    batches, end = [], len(order)
    while end:
        batches.append(order[firsts[end] : end])
        end = firsts[end]
    return batches[::-1]


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
