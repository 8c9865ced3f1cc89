"""Figures of the published experiment, drawn from constructed scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from model.evaluation.reproduction_figures import (
    ConditionScores,
    condition_name,
    draw_localisation,
    draw_scores,
    draw_statistics,
)


def scores(shift: float) -> ConditionScores:
    rng = np.random.default_rng(0)
    return ConditionScores("net", {snr_db: rng.normal(shift, 0.5, 20) for snr_db in (-10.0, None, 5.0)})


def test_conditions_go_from_clean_to_noisy() -> None:
    assert [condition_name(snr_db) for snr_db in scores(0).conditions()] == ["clean", "5 dB", "-10 dB"]


def test_a_figure_shows_the_scores(tmp_path: Path) -> None:
    """Other scores give another picture, and the same ones the same."""
    for draw in (draw_scores, draw_statistics):
        pictures = []
        for shift in (3.0, 3.0, 4.0):
            draw(tmp_path / "figure.png", [scores(shift), scores(5.0)])
            with Image.open(tmp_path / "figure.png") as picture:
                pictures.append(np.array(picture))
        assert np.array_equal(pictures[0], pictures[1])
        assert pictures[2].shape != pictures[0].shape or (pictures[2] != pictures[0]).any()


def test_the_span_of_the_noise_is_marked_in_red(tmp_path: Path) -> None:
    clean = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    frames = {"one": np.full(124, 7.0), "two": np.full(124, 3.0)}
    draw_localisation(tmp_path / "figure.png", clean, clean, (0.5, 1.5), frames)
    with Image.open(tmp_path / "figure.png") as picture:
        pixels = np.array(picture.convert("RGB"), int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1:].max(axis=-1) < 60)
    columns = np.flatnonzero(red.sum(axis=0) > 0.3 * len(pixels))
    # Two lines, half of the time axis apart.
    assert 0.3 * pixels.shape[1] < columns[-1] - columns[0] < 0.5 * pixels.shape[1]
