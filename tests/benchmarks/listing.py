"""Lists and plans a corpus of very many objects, in the graph of `audiosieve score --listing workers`: `make bench`.

The bucket is generated (`tests.support.storage.generated_bucket`): there are no objects and no network. All other code
is that of the
graph, run by Beam's FnApiRunner: `ListCorpus` (places, `list_place`, `CutChunks`) and `WritePlan` with its Parquet. Only the
two shuffles, of places and of chunks, are replaced: this runner would hold the shuffled elements in memory, while a cluster
holds them on disk. Beam's own coder encodes one in 16 of the elements that would be shuffled, and the result is measured and
decoded. All steps therefore become one, and all objects one bundle, which is the worst case for memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tests.support.storage.generated_bucket import GeneratedBucket, generated
from transforms.output.ledger import Ledger
from transforms.runs.plan import count_planned
from transforms.runs.worker_listing import ListCorpus
from transforms.schemas import SCORE_TABLES
from transforms.storage.files import Place

RUN = "20260101T000000Z-aaaaaa"
IN_FOLDER = 10_000
# One of so many chunks is encoded; encoding all would take a third of the time.
ENCODED_OF = 16
# Refs between two lines of progress.
TOLD = 1_000_000


class Crossing(beam.PTransform):
    """Replaces a shuffle: counts the elements, and encodes and decodes some of them."""

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        """Returns the elements, like `Reshuffle`."""
        return elements | "Cross" >> beam.ParDo(Cross()).with_output_types(Any)


class Cross(beam.DoFn):
    """Counts an element, and encodes and decodes it as a shuffle would.

    Attributes:
        counts: counters of this process: places, chunks, refs, encoded refs and their bytes.
    """

    counts: ClassVar[dict[str, int]] = {}

    def __init__(self) -> None:
        self._coder = FastPrimitivesCoder()

    @classmethod
    def begin(cls) -> None:
        """Resets the counters."""
        cls.counts.update(dict.fromkeys(("places", "chunks", "refs", "encoded_refs", "encoded_bytes"), 0))

    def process(self, element: Any) -> Iterable[Any]:
        """Counts every element; encodes and decodes some."""
        counts = self.counts
        if isinstance(element, Place):
            counts["places"] += 1
            yield self._coder.decode(self._coder.encode(element))
            return
        refs = sum(len(recording.refs) for recording in element)
        if counts["chunks"] % ENCODED_OF == 0:
            encoded = self._coder.encode(element)
            counts["encoded_refs"] += refs
            counts["encoded_bytes"] += len(encoded)
            element = self._coder.decode(encoded)
        counts["chunks"] += 1
        counts["refs"] += refs
        if counts["refs"] // TOLD > (counts["refs"] - refs) // TOLD:
            print(f"{counts['refs']:,} refs, {memory_mb():.0f} MB, {time.process_time():.0f} s CPU", file=sys.stderr)
        yield element


def memory_mb() -> float:
    """Returns the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def list_and_plan(bucket: GeneratedBucket, output: Path) -> dict[str, float]:
    """Lists a bucket and writes its plan; returns counts, times and memory."""
    Cross.begin()
    ledger = Ledger(str(output), tuple(SCORE_TABLES))
    ledger.begin(RUN, {})
    before, started, cpu = memory_mb(), time.perf_counter(), time.process_time()
    with generated(bucket) as source, patch.object(beam, "Reshuffle", Crossing), beam.Pipeline(FnApiRunner()) as root:
        root | "Corpus" >> ListCorpus(source, ledger, RUN)
    paths = sorted(map(str, (output / "_runs" / f"{RUN}.pending").glob("plan-*")))
    return {
        **Cross.counts,
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "memory_before_mb": before,
        "memory_mb": memory_mb(),
        "requests": bucket.requests,
        "planned": count_planned(paths),
        "plan_files": len(paths),
        "plan_bytes": sum(Path(path).stat().st_size for path in paths),
        "row_groups": sum(pq.ParquetFile(path).metadata.num_row_groups for path in paths),
    }


def report(found: dict[str, float]) -> str:
    """Returns a line of results, as in the table of README.md."""
    refs = int(found["refs"])
    return (
        f"{refs:>11,} | {refs / found['seconds']:7,.0f}/s | {found['cpu_s'] / refs * 1e6:5.1f} us CPU | "
        f"{found['memory_mb']:5.0f} MB (start {found['memory_before_mb']:.0f}) | {int(found['places']):,} places | "
        f"{int(found['requests']):,} requests | {int(found['chunks']):,} chunks | "
        f"{found['encoded_bytes'] / found['encoded_refs']:.0f} B a ref shuffled | {found['plan_bytes'] / refs:.1f} B planned | "
        f"{int(found['plan_files'])} plan files"
    )


def main() -> None:
    """Measures each size in a separate process and prints the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--objects", default="500000,5000000", help="sizes of the corpora; 50000000 takes about an hour"
    )
    parser.add_argument("--in_folder", type=int, default=IN_FOLDER, help="objects in a folder")
    parser.add_argument("--alone", action="store_true", help="measure one size in this process and print JSON")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    gc.freeze()  # otherwise a fifth of the time goes into garbage collection of Beam's own objects
    for objects in options.objects.split(","):
        if options.alone:
            with tempfile.TemporaryDirectory() as place:
                print(json.dumps(list_and_plan(GeneratedBucket(int(objects), options.in_folder), Path(place))))
            continue
        command = [sys.executable, "-m", "tests.benchmarks.listing", "--alone", f"--objects={objects}"]
        command.append(f"--in_folder={options.in_folder}")
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(report(json.loads(done.stdout)), flush=True)


if __name__ == "__main__":
    main()
