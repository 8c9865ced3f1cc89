"""Draws Figures 2 to 4 of the paper from the kept scores of a finished repeat of `audiosieve reproduce`, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from model.evaluation.reproduction import BASELINE, TITLES
from model.evaluation.reproduction_figures import ConditionScores, draw_localisation, draw_scores, draw_statistics
from model.features import SAMPLE_RATE
from pipelines.experiments.reproduction_training import example_file
from transforms.evaluation.experiment_scores import EXAMPLE, read_predictions
from transforms.evaluation.experiment_splits import TEST
from transforms.evaluation.labelled_clips import decode

FIGURES = "figures"
FIGURE_FILES = ("figure-2-scores.png", "figure-3-statistics.png", "figure-4-localisation.png")
# Networks of the figures in the paper.
DRAWN = (BASELINE, "l_att", "lc_att")


def draw_figures(output: Path, repeat: Path, networks: Sequence[str]) -> list[Path]:
    """Draws the figures of a repeat.

    Args:
        output: folder of the reproduction; the figures go to its folder `figures`.
        repeat: folder of the repeat.
        networks: networks of the run; those of the paper's figures are drawn, or all if there are none of them.

    Returns:
        The files; none if no network has scores.
    """
    names = [name for name in networks if (repeat / f"{name}.parquet").exists()]
    names = [name for name in names if name in DRAWN] or names
    if not names:
        return []
    rows = {name: read_predictions(repeat / f"{name}.parquet") for name in names}
    folder = output / FIGURES
    folder.mkdir(exist_ok=True)
    files = [folder / name for name in FIGURE_FILES]
    scores = [ConditionScores(TITLES[name], _by_condition(rows[name])) for name in names]
    draw_scores(files[0], scores)
    draw_statistics(files[1], scores)
    (example,) = pq.read_table(example_file(repeat), columns=["audio", "reference", "distortions"]).to_pylist()
    (noise,) = example["distortions"]
    frame_scores = {
        TITLES[name]: np.array(row["frame_score"])
        for name in reversed(names)
        for row in rows[name]
        if row["split"] == EXAMPLE
    }
    span = (noise["start_s"], noise["end_s"])
    clean, corrupted = at_same_level(decode(example["reference"]), decode(example["audio"]), span)
    draw_localisation(files[2], clean, corrupted, span, frame_scores)
    return files


def at_same_level(clean: np.ndarray, corrupted: np.ndarray, span: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the clean samples with the level that they have in the corrupted ones, and the corrupted ones: float32 [n].

    A set stores a reference with a gain of its own. The samples outside the noise give its inverse.

    Args:
        clean: reference [n].
        corrupted: the same speech with noise in a part [n].
        span: start and end of the noise in seconds.
    """
    time_s = np.arange(len(clean)) / SAMPLE_RATE
    outside = (time_s < span[0]) | (time_s >= span[1])
    gain = np.dot(clean[outside], corrupted[outside]) / np.dot(clean[outside], clean[outside])
    return (clean * gain).astype(np.float32), corrupted


def _by_condition(rows: Sequence[dict]) -> dict[float | None, np.ndarray]:
    """Returns the scores of the test clips by SNR, ordered by utterance."""
    test = sorted((row for row in rows if row["split"] == TEST), key=lambda row: row["speech_id"])
    conditions = dict.fromkeys(row["snr_db"] for row in test)
    return {snr_db: np.array([row["score"] for row in test if row["snr_db"] == snr_db]) for snr_db in conditions}
