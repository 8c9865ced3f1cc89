"""Measures how `audiosieve filter` finds duplicates among synthetic clips.

    python -m tests.benchmarks.duplicates CLIPS [...]

A tenth of the clips are exact copies of others. A tenth are re-encoded, with a third of the landmarks lost and a third of the
others changed, and cut by up to half a second. Each size runs in a separate process. Times are CPU times.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.curation.selection import MEMORY
from transforms.duplicates.fingerprint import CODE_BITS, FRAME_BITS
from transforms.duplicates.groups import find_duplicates

LANDMARKS_PER_S = 6.2


def write_clips(count: int, path: Path) -> int:
    """Writes clips of 2 to 18 s; returns the number of duplicates."""
    random = np.random.default_rng(0)
    kinds = random.choice(3, count, p=[0.8, 0.1, 0.1])
    kinds[0] = 0
    rows: list[dict] = []
    # Codes are as uneven as those of speech: every bit depends on the one before.
    for number, kind in enumerate(kinds):
        if kind == 0:
            duration_s = float(random.uniform(2, 18))
            size = round(duration_s * LANDMARKS_PER_S)
            frames = np.sort(random.choice(round(duration_s * 62), size, replace=False))
            turns = random.random((size, CODE_BITS)) < 0.35
            codes = (np.cumsum(turns, axis=1) % 2) @ (1 << np.arange(CODE_BITS))
            samples = f"{number:032x}"
        else:
            origin = rows[random.integers(len(rows))]
            landmarks = np.array(origin["fingerprint"])
            frames, codes = landmarks & (1 << FRAME_BITS) - 1, landmarks >> FRAME_BITS
            duration_s, samples = origin["duration_s"], origin["content_hash"]
            if kind == 2:
                cut = int(random.integers(31))
                flips = (random.random(len(codes)) < 0.33) * (1 << random.integers(0, CODE_BITS, len(codes)))
                inside = (random.random(len(codes)) > 0.33) & (frames >= cut)
                frames, codes = frames[inside] - cut, (codes ^ flips)[inside]
                duration_s, samples = duration_s - cut / 62.5, f"{number:032x}"
        row = {"utterance_id": f"{number:08d}", "score": float(random.uniform(1, 4.6)), "duration_s": duration_s}
        rows.append({**row, "content_hash": samples, "fingerprint": (codes << FRAME_BITS | frames).tolist()})
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    return int((kinds > 0).sum())


def measure(path: Path) -> None:
    """Finds the duplicates of a file of clips and prints their number, the CPU time and the memory."""
    connection = duckdb.connect()
    with tempfile.TemporaryDirectory() as scratch:
        for setting in (f"temp_directory = '{scratch}'", f"memory_limit = '{MEMORY}'", "threads = 2"):
            connection.execute(f"SET {setting}")
        connection.execute(f"CREATE VIEW clips AS FROM '{path}'")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, wall = time.process_time(), time.perf_counter()
        find_duplicates(connection, "SELECT * FROM clips")
        seconds, wall_s = time.process_time() - started, time.perf_counter() - wall
    ((found,),) = connection.execute("SELECT count(*) FROM duplicates").fetchall()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{found:,} found in {seconds:.1f} s of CPU, {wall_s:.1f} s; "
        f"{after * 1024 / 1e6:,.0f} MB, {before * 1024 / 1e6:,.0f} MB before",
        flush=True,
    )


def main() -> None:
    """Measures each number of clips of the command line."""
    if sys.argv[1] == "--file":
        measure(Path(sys.argv[2]))
        return
    for count in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "clips.parquet")
            duplicates = write_clips(count, path)
            print(f"{count:,} clips, {duplicates:,} of them duplicates: ", end="", flush=True)
            subprocess.run([sys.executable, "-m", "tests.benchmarks.duplicates", "--file", str(path)], check=True)


if __name__ == "__main__":
    main()
