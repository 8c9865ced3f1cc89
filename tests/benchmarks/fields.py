"""Measures how long `audiosieve filter` takes to write the rows of a large corpus back, and how much memory.

`python -m tests.benchmarks.fields 100000 1000000` writes NeMo manifests of these numbers of rows with nested fields, and
outputs of them without scoring audio. It filters each without dropping anything, and checks that each row comes back as it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.labels import PESQ_WB
from tests.support.outputs import scored, written
from transforms import schemas
from transforms.corpus.carried import carried_fields, carried_value
from transforms.corpus.source_rows import manifest_versions
from transforms.elements import AudioRef
from transforms.output.ledger import Ledger
from transforms.scoring.rows import utterance_row
from transforms.scoring.utterance_score import ModelInfo, summarise
from transforms.storage.text_files import cell_text

CARRIED = "meta"
# Rows per write.
PART = 50_000


def row_of(number: int) -> dict[str, Any]:
    """Returns a row of a NeMo manifest. Ids are in another order than rows."""
    text = " ".join(["one", "two", "three"][(number + place) % 3] for place in range(20))
    meta = {
        "speaker": {"id": number % 5_000, "name": f"spéaker {number % 5_000}"},
        "tags": ["a", "b"],
        "snr": number / 7,
    }
    words = [{"word": "one", "start": 0.25 * place, "end": 0.25 * place + 0.2} for place in range(8)]
    return {
        "audio_filepath": f"/corpus/{number // 1000}/{number}.flac",
        "id": f"{number * 7_919 % 10_000_019:08d}",
        "duration": 4.0,
        "text": text,
        CARRIED: meta,
        "words": words,
        "is_new": number % 2 == 0,
        "n": 2**53 + number,
    }


def write_corpus(folder: Path, number: int) -> tuple[Path, Path]:
    """Writes a manifest and an output of it; returns both."""
    folder.mkdir()
    source, root = folder / "corpus.jsonl", folder / "out"
    ledger = Ledger(str(root), tuple(schemas.SCORE_TABLES))
    run_id = Ledger.new_run_id()
    template = utterance_row(summarise(scored("x", 3.5), ModelInfo("net@0", PESQ_WB, "mean")))
    refs = [AudioRef("x", "/x", 1, "1", {CARRIED: cell_text(row_of(place)[CARRIED])}) for place in (0, 1)]
    (field,) = carried_fields(refs, [CARRIED])
    schema = schemas.with_carried(schemas.UTTERANCES, [field])
    (root / "utterances").mkdir(parents=True)
    with source.open("w", encoding="utf-8") as manifest:
        for part, first in enumerate(range(0, number, PART)):
            rows = [row_of(place) for place in range(first, min(number, first + PART))]
            manifest.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            table = [
                {
                    **template,
                    "utterance_id": row["id"],
                    "uri": row["audio_filepath"],
                    CARRIED: carried_value({CARRIED: cell_text(row[CARRIED])}, field),
                }
                for row in rows
            ]
            path = Path(f"{ledger.prefix('utterances', run_id)}-{part:05d}.parquet")
            pq.write_table(pa.Table.from_pylist(table, schema), path, compression="zstd")
    record = {
        "job": "score",
        "options": {"input": str(source), "carry": [CARRIED], "channels": "auto"},
        "manifests": manifest_versions(str(source)),
        "model_id": "net@0",
        "label_scale": PESQ_WB.name,
        "counts": {"listed": number, "scored": number, "rejected": 0, "skipped": 0},
        "audio_s": 4.0 * number,
        "timings": {"total_s": 1.0},
        "versions": {"audiosieve": "0.1.0"},
    }
    ledger.commit(run_id, record, written(ledger, run_id))
    return source, root


def measure(root: Path, keep: Path) -> tuple[float, float, float]:
    """Returns wall seconds, CPU seconds and peak memory in MB of a filter that keeps everything."""
    command = [sys.executable, "-m", "pipelines.cli", "filter", str(root), "--output", str(keep), "--rules", "none"]
    measured = f"import resource, subprocess; subprocess.run({command!r}, check=True, capture_output=True); "
    measured += (
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_maxrss, used.ru_utime + used.ru_stime)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", measured], check=True, capture_output=True, text=True)
    memory, cpu_s = done.stdout.split()
    return time.perf_counter() - started, float(cpu_s), int(memory) * 1024 / 1e6


def check(source: Path, manifest: Path) -> None:
    """Checks that each row came back in its place, with a score."""
    with source.open(encoding="utf-8") as before, manifest.open(encoding="utf-8") as after:
        for line, written_line in zip(before, after, strict=True):
            assert written_line == f'{line.rstrip()[:-1]}, "score": 3.5}}\n'


def main() -> None:
    """Measures and prints the results."""
    for number in map(int, sys.argv[1:] or ["1000000"]):
        with tempfile.TemporaryDirectory() as place:
            source, root = write_corpus(Path(place) / "corpus", number)
            wall_s, cpu_s, memory = measure(root, Path(place) / "keep")
            check(source, Path(place) / "keep" / "manifest.jsonl")
            size = source.stat().st_size / 1e6
            print(
                f"{number:,} rows of {size:,.0f} MB: {wall_s:.1f} s, {cpu_s:.1f} s of CPU time, {memory:,.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
