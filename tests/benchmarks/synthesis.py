"""Measures the throughput of `synthesize` against a bare PESQ loop over the same clips: `make bench`.

PESQ is by far the slowest step, so a set cannot be made faster than with PESQ alone. The ratio shows how much of that speed
remains after reading, degradations, the truth of frames, coding, Beam and the output. Both run in one process, one after the
other. The material is the corpus at AUDIOSIEVE_CORPUS; without it, or without PESQ, nothing is measured.
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import soundfile

from model.labels import PESQ_WB
from pipelines.synthesize import run
from transforms.synthesis.labels.pesq_labels import pesq, pesq_installed

CLIPS = 600
# All degradations and variations, in the shares of a training set.
OPTIONS = [
    "--fault_ratio",
    "0.35",
    "--variation_ratio",
    "0.6",
    "--clean_ratio",
    "0.12",
    "--keep_reference",
    "--seed",
    "5",
]


def make(corpus: Path, output: Path, clips: int) -> float:
    """Returns the seconds of the complete command in this process."""
    manifest = str(corpus / "manifest.csv")
    material = ["--speech", manifest, "--noise", manifest, "--rir", manifest]
    started = time.perf_counter()
    run([*material, *OPTIONS, "--output", str(output), "--clips", str(clips)])
    return time.perf_counter() - started


def bare_loop(output: Path) -> tuple[int, float, float]:
    """Returns the number of clips of a set, their seconds of audio, and the seconds of PESQ alone."""
    count, audio_s, spent = 0, 0.0, 0.0
    for file in sorted((output / "clips").glob("*.parquet")):
        for row in pq.read_table(file, columns=["audio", "reference"]).to_pylist():
            degraded, reference = (soundfile.read(io.BytesIO(row[name]), dtype="float32")[0] for name in row)
            started = time.perf_counter()
            pesq(reference, degraded, PESQ_WB)
            spent += time.perf_counter() - started
            count += 1
            audio_s += len(degraded) / 16_000
    return count, audio_s, spent


def main() -> None:
    """Measures and prints the results."""
    logging.disable(logging.WARNING)
    place = os.environ.get("AUDIOSIEVE_CORPUS")
    if not place or not pesq_installed():
        print("synthesis: not measured; it needs AUDIOSIEVE_CORPUS and the extra `train`")
        return
    with tempfile.TemporaryDirectory() as scratch:
        # The fixed part: Beam's start, and reading the material once.
        startup = make(Path(place), Path(scratch) / "start", 1)
        whole = make(Path(place), Path(scratch) / "set", CLIPS)
        count, audio_s, bare = bare_loop(Path(scratch) / "set")
    print(f"{count} clips, {audio_s / 3600:.2f} h, one process")
    print(f"bare PESQ loop     {audio_s / bare:8.1f} x real time")
    print(f"synthesize         {audio_s / (whole - startup):8.1f} x real time, its start of {startup:.1f} s excluded")
    print(f"synthesize/bare    {bare / (whole - startup):8.2f}, with its start {bare / whole:.2f}")


if __name__ == "__main__":
    main()
