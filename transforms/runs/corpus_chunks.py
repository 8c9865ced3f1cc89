"""Chunks of a corpus as the input of a scoring pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import apache_beam as beam

from transforms.runs.chunking import Chunk


class CorpusChunks(NamedTuple):
    """Output of the transforms that read a corpus: `GivenChunks`, `plan.ReadPlan` and `worker_listing.ListCorpus`.

    Attributes:
        chunks: chunks, spread over the workers.
        receipts: collections for the receipt of the run: paths of plan files, and sums of work.
    """

    chunks: beam.PCollection
    receipts: tuple[beam.PCollection, ...] = ()


class GivenChunks(beam.PTransform):
    """Root -> chunks that the launcher holds in memory.

    Args:
        chunks: the chunks.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        super().__init__()
        self._chunks = chunks

    def expand(self, root: beam.Pipeline) -> CorpusChunks:
        """Spreads the chunks."""
        return CorpusChunks(root | "Chunks" >> beam.Create(self._chunks) | "Spread" >> beam.Reshuffle())
