"""Measures the parts of a run that grow with a corpus, other than scoring, each size in a separate process.

    python -m tests.benchmarks.growth WHAT SIZE [...]

    reconcile rows      the comparison of input and output at the commit
    launcher  objects   a generated bucket, listed, compared and cut into chunks by the launcher
    tables    output    bytes per row of each table of an output, and of the chunks of its corpus
    compact   copies    `audiosieve compact` over several copies of an output (--output) at once
    start     0         a worker up to its first score

Times are CPU times, because other work on the machine would make wall times longer.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.coders import FastPrimitivesCoder, StrUtf8Coder

from tests.support.storage.generated_bucket import GeneratedBucket, generated
from transforms import schemas
from transforms.corpus.sources import list_corpus
from transforms.output import reconcile
from transforms.output.ledger import Ledger
from transforms.output.results import open_results
from transforms.runs.chunking import Lengths, cut_waves
from transforms.runs.incremental import outstanding
from transforms.runs.plan import plan_table
from transforms.runs.worker_listing import committed_rows

RUN = "20260101T000000Z-aaaaaa"
BATCH = 65_536
FRAMES = 350
IN_FOLDER = 10_000


def _ledger(root: Path | str) -> Ledger:
    return Ledger(str(root), tuple(schemas.SCORE_TABLES))


def _memory() -> str:
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6:,.0f} MB"


def reconcile_rows(rows: int, place: Path) -> None:
    """Reconciles rows with as many refs."""
    (place / "utterances").mkdir()

    def ids() -> Iterator[list[str]]:
        for start in range(0, rows, BATCH):
            yield [f"{i // IN_FOLDER:05d}/speech_{i:08d}.flac" for i in range(start, min(rows, start + BATCH))]

    def listed() -> Iterator[pa.RecordBatch]:
        for part in ids():
            yield pa.RecordBatch.from_arrays(
                [pa.array(part), pa.nulls(len(part), pa.string())], schema=reconcile.LISTED
            )

    names = []
    for number, part in enumerate(ids()):
        count = len(part)
        columns = {
            "utterance_id": part,
            "uri": [f"gs://generated/speech/{name}" for name in part],
            "duration_s": [5.6] * count,
            "num_frames": pa.array([FRAMES] * count, pa.int32()),
            "score": pa.array([1 + i % 36 / 10 for i in range(count)], pa.float32()),
        }
        names.append(f"utterances/{RUN}-{number:06d}.parquet")
        pq.write_table(pa.table(columns), place / names[-1], compression="zstd")
    before, started = _memory(), time.process_time()
    with patch.object(reconcile, "count_rows", lambda *_: FRAMES * rows):  # there are no files of frames to count
        account = reconcile.reconcile(_ledger(place), names, listed())
    assert account.scored == rows
    print(f"reconcile {rows:,} rows: {time.process_time() - started:.1f} s, {_memory()} (start {before})")


def launcher(objects: int, place: Path) -> None:
    """Lists objects as the launcher does."""
    steps, started = [f"start {_memory()}"], time.process_time()

    def step(name: str) -> None:
        nonlocal started
        steps.append(f"{name} {time.process_time() - started:.1f} s, {_memory()}")
        started = time.process_time()

    with generated(GeneratedBucket(objects, IN_FOLDER)) as source:
        refs = list_corpus(source)
    step("listed")
    left = outstanding(refs, _ledger(place))
    step("compared")
    (wave,) = cut_waves(left.refs, Lengths({}), float("inf"))
    step(f"{len(wave.chunks):,} chunks")
    print(f"launcher {objects:,} objects: {'; '.join(steps)}")


def tables(output: str, place: Path) -> None:
    """Prints the bytes of rows and refs of a run."""
    del place
    results, ledger = open_results(output), _ledger(output)
    hours = results.connect().sql("SELECT sum(duration_s) / 3600 FROM utterances").fetchall()[0][0]
    for table, names in results.files.items():
        files = [pq.ParquetFile(Path(output, name)) for name in names]
        size = sum(Path(output, name).stat().st_size for name in names)
        rows = sum(file.metadata.num_rows for file in files)
        groups = [file.metadata.row_group(group) for file in files for group in range(file.num_row_groups)]
        data = sum(group.column(i).total_compressed_size for group in groups for i in range(group.num_columns))
        print(
            f"{table}: {len(files)} files, {rows / hours:,.0f} rows and {size / hours / 1e3:,.1f} kB an hour, "
            f"{size / max(rows, 1):.2f} B a row, {data / max(rows, 1):.2f} without the fixed part, which is "
            f"{(size - data) / max(len(files), 1) / 1e3:.1f} kB a file"
        )
    refs = list_corpus(results.source)
    (wave,) = cut_waves(refs, Lengths.sampled(refs), float("inf"))
    shuffled = sum(len(FastPrimitivesCoder().encode(chunk)) for chunk in wave.chunks)
    plan = pa.BufferOutputStream()
    pq.write_table(plan_table(wave.chunks), plan, compression="zstd")
    rows = [row for path in ledger.committed("utterances") for row in committed_rows(path)]
    compared = sum(len(StrUtf8Coder().encode(key)) + len(FastPrimitivesCoder().encode(row)) for key, row in rows)
    print(
        f"{len(refs):,} recordings, {len(wave.chunks)} chunks; of each {shuffled / len(refs):.0f} B are shuffled, "
        f"{plan.tell() / len(refs):.0f} planned, {sum(len(ref.uri) + len(ref.utterance_id) for ref in refs) / len(refs):.0f} "
        f"are its uri and id; {compared / len(rows):.0f} B of a row of an earlier run are shuffled"
    )


def compact(copies: int, place: Path, source: str, file_mb: int) -> None:
    """Compacts several copies of an output."""
    from pipelines.compact import run

    records = _ledger(source).records()
    (place / "_runs").mkdir()
    for copy in range(copies):
        for record in records:
            run_id = f"{record['run_id'][:-6]}{copy:06x}"
            files = [name.replace(record["run_id"], run_id) for name in record["files"]]
            for old, new in zip(record["files"], files, strict=True):
                (place / new).parent.mkdir(exist_ok=True)
                (place / new).write_bytes(Path(source, old).read_bytes())
            (place / "_runs" / f"{run_id}.json").write_text(json.dumps({**record, "run_id": run_id, "files": files}))
    before, started = _memory(), time.process_time()
    assert run([str(place), f"--file_mb={file_mb}"]) == 0
    print(f"compact {copies} copies: {time.process_time() - started:.1f} s, {_memory()} (start {before})")


def start() -> None:
    """Imports and loads what a worker needs before its first score."""
    import importlib

    begun = time.process_time()
    importlib.import_module("pipelines.scoring.graph")
    imported = time.process_time()
    from model.bundle import DEFAULT, open_bundle
    from transforms.scoring.inference import ScorerHandler

    ScorerHandler(str(open_bundle(DEFAULT).path), 1).load_model()
    loaded = time.process_time()
    print(
        f"start: Beam and ours {imported:.1f} s (of which {imported - begun:.1f} here), TensorFlow and model "
        f"{loaded - imported:.1f} s, {_memory()}"
    )


def main() -> None:
    """Measures and prints the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("reconcile", "launcher", "tables", "compact", "start"))
    parser.add_argument("sizes", nargs="+")
    parser.add_argument("--output", help="output of a run, for `compact`")
    parser.add_argument("--file_mb", type=int, default=16)
    parser.add_argument("--alone", action="store_true", help="measure in this process")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    for size in options.sizes:
        if not options.alone:
            command = [sys.executable, "-m", "tests.benchmarks.growth", options.what, size, "--alone"]
            command += [f"--output={options.output}", f"--file_mb={options.file_mb}"]
            print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="", flush=True)
            continue
        with tempfile.TemporaryDirectory() as place:
            if options.what == "reconcile":
                reconcile_rows(int(size), Path(place))
            elif options.what == "launcher":
                launcher(int(size), Path(place))
            elif options.what == "tables":
                tables(size, Path(place))
            elif options.what == "compact":
                compact(int(size), Path(place), options.output, options.file_mb)
            else:
                start()


if __name__ == "__main__":
    main()
