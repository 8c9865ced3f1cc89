"""Measures the throughput of the scoring pipeline against a bare loop over the same files: `make bench`.

The bare loop decodes, transforms and scores in one process with one TensorFlow thread. It uses the same order and the same
batch limits as the pipeline, but no Beam and no signal facts, and it writes nothing. Both run in turn in this process, so
that their ratio does not depend on how the machine's speed drifts. The recordings are those below AUDIOSIEVE_CORPUS/speech, or
copies of the samples if it is not set.
"""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

import soundfile
import soxr

from model.bundle import DEFAULT, Bundle, open_bundle
from model.features import SAMPLE_RATE, spectrogram
from model.runtime import start_tensorflow
from pipelines.scoring.graph import Committer, ScoreConfig, score_wave
from tests.support.paths import SAMPLES
from transforms.corpus.sources import list_corpus
from transforms.elements import MIX, AudioRef
from transforms.output.ledger import Ledger
from transforms.runs.chunking import Lengths, Wave, cut_waves
from transforms.runs.corpus_chunks import GivenChunks
from transforms.schemas import SCORE_TABLES
from transforms.scoring.batching import BatchLimits, cut_batches
from transforms.scoring.inference import ScorerHandler

ROUNDS = 3


def bare_loop(refs: list[AudioRef], bundle: Bundle, scorer: object, limits: BatchLimits, parts: Counter[str]) -> float:
    """Returns the seconds of the bare loop; adds the seconds of each step to `parts`."""
    clock = time.perf_counter
    started = clock()
    pool, frames, padded = [], 0, 0

    def score_pool() -> int:
        begun, count = clock(), 0
        for batch in cut_batches([len(features) for features in pool], limits):
            scorer.score([pool[index] for index in batch])
            count += len(batch) * len(pool[batch[0]])
        parts["model"] += clock() - begun
        pool.clear()
        return count

    for ref in refs:
        begun = clock()
        samples, rate = soundfile.read(ref.uri, dtype="float32", always_2d=True)
        mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
        mono = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)
        decoded = clock()
        pool.append(spectrogram(mono, bundle.features))
        parts["decode"] += decoded - begun
        parts["features"] += clock() - decoded
        frames += len(pool[-1])
        if sum(map(len, pool)) >= limits.pool_frames:
            padded += score_pool()
    padded += score_pool()
    parts["real frames"], parts["padded frames"] = frames, padded
    return clock() - started


def wave_of(refs: list[AudioRef]) -> Wave:
    """Returns all recordings as one wave, in the order of a run."""
    (wave,) = cut_waves(refs, Lengths.sampled(refs), float("inf"))
    return wave


def pipeline(wave: Wave, bundle: Bundle, limits: BatchLimits, output: Path) -> float:
    """Returns the seconds of the pipeline in one process, including its start and its output."""
    started = time.perf_counter()
    ledger = Ledger(str(output), tuple(SCORE_TABLES))
    score_wave(
        ScoreConfig(
            corpus=GivenChunks(wave.chunks),
            bundle=bundle,
            model=DEFAULT,
            limits=limits,
            threads=1,
            channels=MIX,
            carry=(),
            ledger=ledger,
            run_id=Ledger.new_run_id(),
            committer=Committer.LAUNCHER,
            counters=str(output.parent),
        )
    )
    return time.perf_counter() - started


def recordings(scratch: Path) -> list[AudioRef]:
    """Returns the recordings to score: the corpus, or a few hundred copies of the samples."""
    if place := os.environ.get("AUDIOSIEVE_CORPUS"):
        return list_corpus(str(Path(place) / "speech"))
    for copy in range(60):
        shutil.copytree(SAMPLES, scratch / f"{copy:03d}", ignore=shutil.ignore_patterns("corrupt*"))
    return list_corpus(str(scratch))


def main() -> None:
    """Measures and prints the results."""
    logging.disable(logging.WARNING)  # Beam warns of what it lacks and nobody needs here
    start_tensorflow(threads=1)
    bundle, limits = open_bundle(DEFAULT), BatchLimits()
    scorer = ScorerHandler(DEFAULT).load_model()
    with tempfile.TemporaryDirectory() as place:
        refs = recordings(Path(place) / "audio")
        audio_s = sum(soundfile.info(ref.uri).duration for ref in refs)
        startup = statistics.median(
            pipeline(wave_of(refs[:1]), bundle, limits, Path(place) / f"start{i}") for i in range(ROUNDS)
        )
        print(
            f"{len(refs)} recordings, {audio_s / 3600:.2f} h, {bundle.model_id}, {ROUNDS} rounds, medians", flush=True
        )
        bares, pipes, parts, wave = [], [], Counter(), wave_of(refs)
        for i in range(ROUNDS):
            parts = Counter()
            bares.append(bare_loop(wave.refs, bundle, scorer, limits, parts))
            pipes.append(pipeline(wave, bundle, limits, Path(place) / f"out{i}") - startup)
            print(f"  round {i + 1}: bare loop {bares[-1]:.2f} s, pipeline {pipes[-1]:.2f} s", flush=True)
    for part in ("decode", "features", "model"):
        print(f"{part:<18} {audio_s / parts[part]:8.0f} x real time (last round)")
    print(f"padding            {1 - parts['real frames'] / parts['padded frames']:8.1%} of the frames computed")
    print(f"bare loop          {audio_s / statistics.median(bares):8.0f} x real time")
    print(
        f"pipeline           {audio_s / statistics.median(pipes):8.0f} x real time, its start of {startup:.1f} s excluded"
    )
    ratio = statistics.median(bare / pipe for bare, pipe in zip(bares, pipes, strict=True))
    print(f"pipeline/bare loop {ratio:8.2f}")


if __name__ == "__main__":
    main()
