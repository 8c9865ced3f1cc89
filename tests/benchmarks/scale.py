"""Measures how scoring grows with processes, with the hours of the corpus, and with its number of files. Part of `make bench`.

The corpora are 16 kHz FLAC, made from the speech below AUDIOSIEVE_CORPUS: recordings of 1 to 60 s (log-uniform), cut from all
speech in sequence, each with its own gain. Every figure is a ratio of two measurements. Each run is a separate process, as a
user starts it. The start of a run is measured as a run over one recording.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from transforms.audio.decode import read_audio
from transforms.corpus.sources import list_corpus
from transforms.errors import AudioFault

RATE = 16_000
LENGTH_S = (1.0, 60.0)
FILES_IN_FOLDER = 500
ROUNDS = 3
PLANNED, SPANS = 1_000_000, 100


def speech(place: Path) -> np.ndarray:
    """Returns all speech of the corpus in sequence: float32 [n] at 16 kHz."""
    parts = []
    for ref in list_corpus(str(place / "speech")):
        try:
            parts.append(read_audio(ref.uri).samples)
        except AudioFault:
            continue
    return np.concatenate(parts)


def make_corpus(folder: Path, samples: np.ndarray, hours: float, seed: int) -> None:
    """Writes recordings with the given total of hours."""
    rng = np.random.default_rng(seed)
    left, number = hours * 3600, 0
    while left > 0:
        seconds = float(np.exp(rng.uniform(*np.log(LENGTH_S))))
        start = int(rng.integers(len(samples) - int(seconds * RATE)))
        part = samples[start : start + int(seconds * RATE)] * 10 ** (rng.uniform(-20, 0) / 20)
        place = folder / f"{number // FILES_IN_FOLDER:04d}" / f"{number:06d}.flac"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, part, RATE)
        left -= seconds
        number += 1


def run(source: Path, output: Path, *options: str) -> tuple[float, float]:
    """Returns seconds and peak memory in MB (of the largest process) of a complete run."""
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "score",
        "--input",
        str(source),
        "--output",
        str(output),
        *options,
    ]
    measured = f"import resource, subprocess, sys; subprocess.run({command!r}, check=True, capture_output=True); "
    measured += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", measured], check=True, capture_output=True, text=True)
    return time.perf_counter() - started, int(done.stdout) * 1024 / 1e6


def scaling(samples: np.ndarray, scratch: Path, hours: list[float]) -> None:
    """Measures time and memory by hours of the corpus in one process, then the largest corpus in two."""
    make_corpus(scratch / "one", samples, 0.0005, 0)
    startup = min(run(scratch / "one", scratch / f"start{i}", "--direct_num_workers=1")[0] for i in range(2))
    print(f"start of a run {startup:.1f} s", flush=True)
    taken = []
    for count in hours:
        make_corpus(scratch / f"{count:g}h", samples, count, round(count * 10))
        seconds, memory = run(scratch / f"{count:g}h", scratch / f"out{count:g}", "--direct_num_workers=1")
        taken.append(seconds - startup)
        took = seconds - startup
        print(f"{count:5g} h: {took:7.1f} s, {count * 3600 / took:5.0f} x real time, {memory:5.0f} MB", flush=True)
    exponent = np.polyfit(np.log(hours), np.log(taken), 1)[0]
    print(f"time grows with the hours to the power of {exponent:.3f}")
    seconds, memory = run(scratch / f"{hours[-1]:g}h", scratch / "two", "--direct_num_workers=2")
    faster = (taken[-1] + startup) / seconds
    print(f"two processes: {seconds:.1f} s, {memory:.0f} MB each; {faster:.2f} times as fast, starts included")


def starting(scratch: Path) -> None:
    """Compares the first score of one file with importing TensorFlow and Beam and loading the bundle."""
    soundfile.write(scratch / "first.flac", np.random.default_rng(0).normal(0, 0.1, 5 * RATE), RATE)
    bare = (
        "import tensorflow, apache_beam; from model.bundle import DEFAULT; from model.inference.scorer import Scorer; "
        "Scorer(DEFAULT).score([__import__('numpy').zeros((300, 257), 'float32')])"
    )
    loads, scores = [], []
    for i in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", bare], check=True, capture_output=True)
        loads.append(time.perf_counter() - started)
        scores.append(run(scratch / "first.flac", scratch / f"first{i}")[0])
    print(
        f"first score: {min(scores):.1f} s, of which importing and loading {min(loads):.1f} s: "
        f"{min(scores) / min(loads):.2f} times as long"
    )


def planning(scratch: Path) -> None:
    """Lists, compares and cuts two manifests of a million utterances of 5 s in 10,000 recordings, each in a separate process.

    One is a plain CSV file; the other is JSON lines with nested fields, which are carried.
    """
    (scratch / "long").mkdir()
    soundfile.write(scratch / "long" / "0.flac", np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    for number in range(1, PLANNED // SPANS):
        (scratch / "long" / f"{number}.flac").hardlink_to(scratch / "long" / "0.flac")
    spans = ((f"long/{i // SPANS}.flac", f"{i:07d}", 5.0 * (i % SPANS)) for i in range(PLANNED))
    nested = {
        "words": [{"word": "good", "start": 0.25, "end": 0.5}] * 6,
        "meta": {"room": {"id": 7, "rt60": [0.1, 0.2]}},
    }
    with (
        (scratch / "plain.csv").open("w", newline="") as table,
        (scratch / "nested.jsonl").open("w", encoding="utf-8") as lines,
    ):
        writer = csv.writer(table)
        writer.writerow(["path", "id", "start", "end"])
        for path, name, start in spans:
            writer.writerow([path, name, start, start + 5.0])
            row = {
                "audio_filepath": path,
                "id": name,
                "offset": start,
                "duration": 5.0,
                "text": f"text {name}",
                **nested,
            }
            lines.write(json.dumps(row) + "\n")
    program = (
        "import resource, sys, time\n"
        "from pipelines import score\n"
        "from transforms.runs.chunking import Lengths, cut_waves\n"
        "source, output, *carry = sys.argv[1:]\n"
        "options = score.ListingOptions(carry=frozenset(carry), is_strict=False)\n"
        "refs = score.scan_corpus(source, options).refs\n"
        "left = score.outstanding(refs, score.Ledger(output, tuple(score.schemas.SCORE_TABLES)))\n"
        "waves = cut_waves(left.refs, Lengths.sampled(left.refs))\n"
        "print(len(left.refs), len(waves), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    for name, carry in (("plain.csv", ()), ("nested.jsonl", ("text", "words", "meta"))):
        done = subprocess.run(
            [sys.executable, "-c", program, str(scratch / name), str(scratch / "none"), *carry],
            check=True,
            capture_output=True,
            text=True,
        )
        utterances, waves, seconds, memory = done.stdout.split()
        print(
            f"planning {int(utterances):,} utterances of {name}: {float(seconds):.1f} s of CPU, "
            f"{int(memory) * 1024 / 1e6:.0f} MB, {waves} waves"
        )


def main() -> None:
    """Measures and prints the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", default="1,2,5,10,20", help="sizes of the corpora")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        starting(Path(place))
        planning(Path(place))
        if corpus := os.environ.get("AUDIOSIEVE_CORPUS"):
            scaling(speech(Path(corpus)), Path(place), [float(hours) for hours in options.hours.split(",")])
        else:
            print("scaling: not measured; it needs AUDIOSIEVE_CORPUS")


if __name__ == "__main__":
    main()
