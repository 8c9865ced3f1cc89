"""Measures the speed of the networks alone: `python -m tests.benchmarks.networks`.

All networks run in turn on the same batch, 32 recordings of 6 s, with one TensorFlow thread. The shortest CPU time of some
rounds counts, because other processes only make a round longer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model.bundle import WEIGHTS
from model.features import NUM_BINS
from model.inference.scorer import Scorer
from model.runtime import start_tensorflow
from tests.support.training.random_bundles import complete_bundle, random_network

NAMES = ("quality_net", "disturbance_net", "diagnostic_net_16ms", "diagnostic_net")
RECORDINGS, SECONDS, FRAMES, ROUNDS = 32, 6, 374, 8


def speeds(scorers: Mapping[str, Scorer]) -> dict[str, float]:
    """Returns how many times faster than real time each network is, in CPU time."""
    batch = list(np.random.default_rng(0).normal(-2, 1, (RECORDINGS, FRAMES, NUM_BINS)).astype(np.float32))
    best = dict.fromkeys(scorers, float("inf"))
    for _ in range(ROUNDS):
        for name, scorer in scorers.items():
            started = time.process_time()
            scorer.score(batch)
            best[name] = min(best[name], time.process_time() - started)
    return {name: RECORDINGS * SECONDS / seconds for name, seconds in best.items()}


def main() -> None:
    """Measures and prints the results."""
    start_tensorflow(threads=1)
    with tempfile.TemporaryDirectory() as place:
        scorers = {}
        for name in NAMES:
            folder = Path(place) / name
            folder.mkdir()
            network = random_network(name)
            network.save_weights(folder / WEIGHTS)
            print(f"{name}: {network.count_params():,} parameters")
            scorers[name] = Scorer(complete_bundle(folder, network=name))
        found = speeds(scorers)
    for name, speed in found.items():
        print(f"{name:<20} {speed:8.0f} x real time, {speed / found['disturbance_net']:.2f} x disturbance_net")


if __name__ == "__main__":
    main()
