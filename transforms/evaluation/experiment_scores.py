"""Scores of the clips of `audiosieve reproduce`, and the tables that keep them for figures.

A network sees each clip whole, as in its training, and the score of a clip is the mean of all its frame scores, as published.
`Scorer` limits frame scores to the scale of the pseudo-score, 1 to 8.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.evaluation.scored_clips import Clip, ScoredClips, choose_threshold
from model.features import spectrogram
from model.labels import PSEUDO
from model.local_files import atomic_path
from transforms.evaluation.experiment import set_ledger
from transforms.evaluation.experiment_splits import TEST
from transforms.evaluation.labelled_clips import decode, read_clips
from transforms.synthesis.materials import TRAIN

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

# Clips in a call of the network.
BATCH_CLIPS = 32
# Split of the clip with noise in a part of it, which is no clip of the set.
EXAMPLE = "example"
# Scores of the test clips and of the example, one row each; `snr_db` is null for a clean clip.
PREDICTIONS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("split", pa.string()),
        ("speech_id", pa.string()),
        ("snr_db", pa.float64()),
        ("label", pa.float64()),
        ("score", pa.float64()),
        ("frame_score", pa.list_(pa.float32())),
    ]
)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Scores of a network.

    Attributes:
        test: test clips with their scores, and a threshold that was chosen on the training clips.
        rows: rows of the table `PREDICTIONS`.
    """

    test: ScoredClips
    rows: list[dict[str, Any]]


def predict(folder: Path, example: Path, scorer: Scorer) -> Predictions:
    """Scores the training and the test clips of a set, and the example.

    Args:
        folder: folder of the set.
        example: file of the example (`experiment.write_example`).
        scorer: model that was trained on the set.

    Raises:
        SourceError: the folder holds no finished set.
    """
    clips = [clip for clip in read_clips(str(folder)) if clip.split in (TRAIN, TEST)]
    frame_scores: dict[str, np.ndarray] = {}
    for file in [*map(Path, set_ledger(folder).committed("clips")), example]:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            rows = parquet.read_row_group(group, ["clip_id", "split", "audio"]).to_pylist()
            frame_scores |= _score([row for row in rows if row["split"] in (TRAIN, TEST)], scorer)
    training, test = ([clip for clip in clips if clip.split == split] for split in (TRAIN, TEST))

    def scores(of: Sequence[Clip]) -> np.ndarray:
        return np.array([frame_scores[clip.clip_id].mean() for clip in of], float)

    scored = ScoredClips(
        clips=test,
        score=scores(test),
        localised=[],
        label=np.array([clip.labels[PSEUDO.column] for clip in test], float),
        label_scale=PSEUDO,
        scale=scorer.bundle.label_scale,
        threshold=choose_threshold(np.array([clip.clean for clip in training]), scores(training)),
    )
    facts: list[dict[str, Any]] = [
        {"clip_id": clip.clip_id, "split": TEST, "speech_id": clip.speech_id, "snr_db": clip.snr_db}
        | {"label": clip.labels[PSEUDO.column]}
        for clip in test
    ]
    columns = ["clip_id", "speech_id", "snr_db"]
    facts += [row | {"split": EXAMPLE, "label": None} for row in pq.read_table(example, columns=columns).to_pylist()]
    return Predictions(scored, [_with_scores(row, frame_scores[row["clip_id"]]) for row in facts])


def _score(rows: Sequence[dict[str, Any]], scorer: Scorer) -> dict[str, np.ndarray]:
    """Returns the frame scores of clips [T] by their id. Clips of equal length share a batch, so most have no padding."""
    features = {row["clip_id"]: spectrogram(decode(row["audio"]), scorer.bundle.features) for row in rows}
    ids = sorted(features, key=lambda clip_id: len(features[clip_id]))
    scored: dict[str, np.ndarray] = {}
    for start in range(0, len(ids), BATCH_CLIPS):
        batch = ids[start : start + BATCH_CLIPS]
        estimates = scorer.score([features[clip_id] for clip_id in batch])
        scored |= {clip_id: one.score for clip_id, one in zip(batch, estimates, strict=True)}
    return scored


def _with_scores(row: dict[str, Any], frame_score: np.ndarray) -> dict[str, Any]:
    return row | {"score": float(frame_score.mean()), "frame_score": frame_score.tolist()}


def write_predictions(file: Path, predictions: Predictions) -> None:
    """Writes the table `PREDICTIONS` of a network to a Parquet file; replaces an existing file."""
    with atomic_path(file) as draft:
        pq.write_table(pa.Table.from_pylist(predictions.rows, PREDICTIONS), draft, compression="zstd")


def read_predictions(file: Path) -> list[dict[str, Any]]:
    """Returns the rows of a table that `write_predictions` wrote."""
    rows: list[dict[str, Any]] = pq.read_table(file, schema=PREDICTIONS).to_pylist()
    return rows
