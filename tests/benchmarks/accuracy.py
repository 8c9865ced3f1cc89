"""How well a bundle's scores agree with the labels of sets made by `audiosieve synthesize`, overall and by SNR.

    python -m tests.benchmarks.accuracy SET [SET ...] [--model NAME|PATH] [--split val]

Sets without the model's label give the mean scores only.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import defaultdict

import numpy as np
import soundfile

from model.bundle import DEFAULT, open_bundle
from model.features import spectrogram
from model.metrics import agreement
from model.pooling import pool
from transforms.batching import BatchLimits, cut_batches
from transforms.ledger import Ledger
from transforms.schemas import SYNTHESIS_TABLES
from transforms.score import ScorerHandler


def main() -> None:
    """Scores the set and prints its table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--split", default="val")
    options = parser.parse_args()
    bundle = open_bundle(options.model)
    scorer = ScorerHandler(options.model).load_model()
    columns = ["audio", bundle.label_scale.column, "snr_db", "split"]
    ledgers = [Ledger(place, tuple(SYNTHESIS_TABLES)) for place in options.sets]
    rows = [row for ledger in ledgers for batch in ledger.rows("clips", columns) for row in batch.to_pylist()]
    rows = [row for row in rows if row["split"] == options.split]
    if not rows:
        sys.exit(f"{', '.join(options.sets)}: no clip of the split {options.split}")
    clips = [soundfile.read(io.BytesIO(row["audio"]), dtype="float32")[0] for row in rows]
    features = [spectrogram(samples, bundle.features) for samples in clips]
    scores = np.empty(len(rows))
    for batch in cut_batches([len(spectrum) for spectrum in features], BatchLimits()):
        scores[batch] = [pool(frames) for frames in scorer.score([features[index] for index in batch])]
    labels = np.array([row[bundle.label_scale.column] for row in rows], float)  # None becomes NaN
    known = np.isfinite(labels)
    print(f"{bundle.model_id} on {len(rows)} clips of the split {options.split}")
    if known.any():
        print(
            "  ".join(f"{name.upper()} {value:.3f}" for name, value in agreement(labels[known], scores[known]).items())
        )
    conditions = defaultdict(list)
    for index, row in enumerate(rows):
        conditions[np.inf if row["snr_db"] is None else 5 * round(row["snr_db"] / 5)].append(index)
    print(f"{'SNR, nearest 5 dB':>17} {'clips':>6} {'label':>6} {'score':>6}")
    for snr_db, indices in sorted(conditions.items()):
        name = "clean" if snr_db == np.inf else f"{snr_db} dB"
        print(f"{name:>17} {len(indices):>6} {labels[indices].mean():>6.2f} {scores[indices].mean():>6.2f}")


if __name__ == "__main__":
    main()
