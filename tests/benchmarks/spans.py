"""Measures the time and memory of scoring many spans of one long recording.

`AUDIOSIEVE_CORPUS=... python -m tests.benchmarks.spans 1:5000 10:50000` takes hours and numbers of spans. It writes a FLAC of
that length from the speech of the corpus and a manifest of that many spans, one after the other, and scores them with the
installed command. The memory is flat if ten times the hours and spans take as much as one.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

from tests.benchmarks.scale import RATE, speech


def write_recording(path: Path, samples: np.ndarray, hours: float) -> None:
    """Writes speech, float32 [n] at 16 kHz, again and again until the recording has its length."""
    left = round(hours * 3600 * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1) as sound:
        while left > 0:
            sound.write(samples[:left])
            left -= len(samples)


def write_manifest(path: Path, recording: Path, hours: float, spans: int) -> None:
    """Writes rows of equal spans that fill the recording."""
    length = hours * 3600 / spans
    with path.open("w", encoding="utf-8") as manifest:
        for number in range(spans):
            row = {"audio_filepath": str(recording), "id": f"s{number:06d}", "text": f"words of span {number}"}
            row |= {"offset": round(number * length, 3), "duration": round(length, 3)}
            manifest.write(f"{json.dumps(row)}\n")


def measure(manifest: Path, output: Path) -> tuple[float, float, float]:
    """Returns wall seconds, CPU seconds of all processes and the peak memory in MB of the largest of them."""
    started = time.perf_counter()
    command = ["-m", "pipelines.cli", "score", "--input", str(manifest), "--output", str(output)]
    process = os.posix_spawn(sys.executable, [sys.executable, *command, "--carry", "text"], os.environ)
    _, status, used = os.wait4(process, 0)
    assert status == 0
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Measures and prints the results."""
    samples = speech(Path(os.environ["AUDIOSIEVE_CORPUS"]))
    for size in sys.argv[1:] or ["1:5000", "10:50000"]:
        hours, spans = float(size.partition(":")[0]), int(size.partition(":")[2])
        with tempfile.TemporaryDirectory() as place:
            recording, manifest = Path(place) / "long.flac", Path(place) / "spans.jsonl"
            write_recording(recording, samples, hours)
            write_manifest(manifest, recording, hours, spans)
            wall_s, cpu_s, memory = measure(manifest, Path(place) / "out")
            scored = pq.read_table(Path(place) / "out" / "utterances", columns=["utterance_id"]).num_rows
        print(
            f"{spans:,} spans of {hours:g} h: {wall_s:.0f} s, {cpu_s:.0f} s of CPU time, {memory:,.0f} MB; {scored:,} scored"
        )


if __name__ == "__main__":
    main()
