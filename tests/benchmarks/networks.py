"""Measures the speed of the networks alone: `python -m tests.benchmarks.networks`.

All networks run in turn on 32 recordings of 6 s, and on one, with one TensorFlow thread. The network of the default model also
runs with Keras's loop over the steps of its LSTMs (`fused_lstm`). The shortest CPU time of some rounds counts, because other
processes only make a round longer.
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
from model.networks.fused_lstm import FusedLSTM
from model.runtime import start_tensorflow
from tests.support.training.random_bundles import complete_bundle, random_network

DEFAULT, LOOP = "disturbance_net", "disturbance_net, loop"
NAMES = ("quality_net", DEFAULT, "diagnostic_net_16ms", "diagnostic_net", LOOP)
SECONDS, FRAMES, ROUNDS = 6, 374, 8
# Recordings in a batch.
BATCH = 32


def speeds(scorers: Mapping[str, Scorer], recordings: int) -> dict[str, float]:
    """Returns how many times faster than real time each network is on a batch, in CPU time."""
    batch = list(np.random.default_rng(0).normal(-2, 1, (recordings, FRAMES, NUM_BINS)).astype(np.float32))
    best = dict.fromkeys(scorers, float("inf"))
    for _ in range(ROUNDS):
        for name, scorer in scorers.items():
            started = time.process_time()
            scorer.score(batch)
            best[name] = min(best[name], time.process_time() - started)
    return {name: recordings * SECONDS / seconds for name, seconds in best.items()}


def main() -> None:
    """Measures and prints the results."""
    start_tensorflow(threads=1)
    with tempfile.TemporaryDirectory() as place:
        scorers = {}
        for name in NAMES:
            folder, network_name = Path(place) / name, DEFAULT if name == LOOP else name
            folder.mkdir()
            network = random_network(network_name)
            network.save_weights(folder / WEIGHTS)
            print(f"{name}: {network.count_params():,} parameters")
            FusedLSTM.is_fused = name != LOOP  # read while the scorer traces its graphs
            scorers[name] = Scorer(complete_bundle(folder, network=network_name))
        for recordings in (BATCH, 1):
            print(f"\nin batches of {recordings}:")
            found = speeds(scorers, recordings)
            for name, speed in found.items():
                print(f"{name:<21} {speed:8.0f} x real time, {speed / found[DEFAULT]:.2f} x {DEFAULT}")


if __name__ == "__main__":
    main()
