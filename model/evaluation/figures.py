"""Figures of an evaluation, drawn with matplotlib."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.features import FRAME_LENGTH, FRAME_SHIFT, NUM_BINS, SAMPLE_RATE, FeatureConfig, frames, spectrogram
from model.labels import LabelScale

DPI = 120
# Range of the colour scale of a spectrogram, below its loudest point.
RANGE_DB = 80.0
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 9,
}


def draw_predicted_against_target(
    path: Path,
    label: np.ndarray,
    score: np.ndarray,
    clean: np.ndarray,
    scales: tuple[LabelScale, LabelScale],
    title: str,
) -> None:
    """Draws scores against labels. Clean clips have another colour than degraded ones.

    Args:
        path: path of the PNG file.
        label: label of each clip [N]; NaN for a missing label.
        score: predicted score of each clip [N].
        clean: whether each clip is clean, bool [N].
        scales: scale of the labels and scale of the scores.
        title: title of the figure.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.add_subplot(xlabel=scales[0].title, ylabel=f"predicted: {scales[1].title}", title=title)
        for name, selected, colour in (("degraded", ~clean, "C0"), ("clean", clean, "C1")):
            axes.scatter(label[selected], score[selected], s=8, alpha=0.5, linewidths=0, color=colour, label=name)
        if scales[0] == scales[1]:
            ends = (scales[0].low, scales[0].high)
            axes.plot(ends, ends, color="0.4", linewidth=1)
        axes.legend()
        save(figure, path)


def draw_conditions(
    path: Path,
    conditions: dict[str, dict[str, dict[str, Any]]],
    label_scale: LabelScale | None,
    scale: LabelScale,
    title: str,
) -> None:
    """Draws mean and variance of scores and labels under each condition, one column of panels for each dimension.

    Args:
        path: path of the PNG file.
        conditions: measures by dimension and condition: at least clips, score_mean, score_variance, label_mean and
            label_variance; means and variances may be None.
        label_scale: scale of the labels; None if there are no labels.
        scale: scale of the scores.
        title: title of the figure.
    """
    with mpl.rc_context(STYLE):
        widths = [max(4, len(rows)) for rows in conditions.values()]
        figure = Figure(figsize=(1.5 + 0.55 * sum(widths), 6), layout="constrained")
        panels = figure.subplots(2, len(conditions), squeeze=False, sharey="row", width_ratios=widths)
        for column, (dimension, rows) in enumerate(conditions.items()):
            for axes, measure in zip(panels[:, column], ("mean", "variance"), strict=True):
                positions = np.arange(len(rows))
                series = [("score", f"predicted {scale.name}", "C0", -0.18)]
                series += [("label", f"label {label_scale.name}", "C1", 0.18)] if label_scale else []
                for kind, name, colour, shift in series:
                    heights = [_number(row[f"{kind}_{measure}"]) for row in rows.values()]
                    axes.bar(positions + shift, heights, width=0.36, color=colour, label=name)
                names = [f"{name} ({row['clips']})" if measure == "variance" else "" for name, row in rows.items()]
                axes.set_xticks(positions, names, rotation=45, ha="right")
                axes.grid(visible=False, axis="x")
            panels[0, column].set_title(dimension.replace("_", " "))
        panels[0, 0].set_ylabel("mean")
        panels[1, 0].set_ylabel("variance")
        figure.suptitle(title)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        save(figure, path)


@dataclasses.dataclass(frozen=True)
class Example:
    """A clip to draw.

    Attributes:
        title: title of the figure.
        samples: samples of the clip at 16 kHz [n].
        reference: clean samples at 16 kHz [n]; None if the set does not contain them.
        spans: start and end of each truly bad span, in seconds.
        frame_scores: frame scores by model id [T].
        scales: label scale by model id.
    """

    title: str
    samples: np.ndarray
    reference: np.ndarray | None
    spans: Sequence[tuple[float, float]]
    frame_scores: dict[str, np.ndarray]
    scales: dict[str, LabelScale]


def draw_example(path: Path, example: Example) -> None:
    """Draws the spectrograms of a clip and its reference above the frame scores of each model, and marks the bad spans.

    Each label scale has a panel of its own.
    """
    pictures = [("corrupted", example.samples)]
    if example.reference is not None:
        pictures.insert(0, ("reference", example.reference))
    spans = merged(example.spans)
    scales = list({scale.name: scale for scale in example.scales.values()}.values())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.2 * (len(pictures) + len(scales))), layout="constrained")
        panels = figure.subplots(len(pictures) + len(scales), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, samples) in zip(panels[: len(pictures)], pictures, strict=True):
            level_db = spectrum_db(samples)
            axes.imshow(
                level_db.T,
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=level_db.max() - RANGE_DB,
                extent=(0, len(level_db) * FRAME_SHIFT / SAMPLE_RATE, 0, SAMPLE_RATE / 2000),
            )
            axes.set_ylabel(f"{name}\nkHz")
            axes.grid(visible=False)
            for span in spans:
                for edge in span:
                    axes.axvline(edge, color="white", linestyle="--", linewidth=1)
        for axes, scale in zip(panels[len(pictures) :], scales, strict=True):
            for name, frame_score in example.frame_scores.items():
                if example.scales[name] == scale:
                    # Each score is drawn at the middle of its frame.
                    time = (np.arange(len(frame_score)) * FRAME_SHIFT + FRAME_LENGTH / 2) / SAMPLE_RATE
                    axes.plot(time, frame_score, linewidth=1, label=name)
            for number, span in enumerate(spans):
                axes.axvspan(*span, color="C3", alpha=0.15, linewidth=0, label=None if number else "truly bad")
            axes.set_ylabel(f"frame score\n{scale.name}")
            axes.set_ylim(scale.low - 0.03 * scale.span, scale.high + 0.03 * scale.span)
            axes.legend(loc="lower right", fontsize=7)
        panels[-1].set_xlabel("s")
        panels[-1].set_xlim(0, len(example.samples) / SAMPLE_RATE)
        figure.suptitle(example.title)
        save(figure, path)


def merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Merges spans that touch or overlap, and returns the result sorted by time."""
    disjoint: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if disjoint and start <= disjoint[-1][1]:
            disjoint[-1] = (disjoint[-1][0], max(end, disjoint[-1][1]))
        else:
            disjoint.append((start, end))
    return disjoint


def spectrum_db(samples: np.ndarray) -> np.ndarray:
    """Returns the level of each bin of each frame in dB, [T, 257]; -200 dB for digital silence."""
    if not samples.any():
        return np.full((len(frames(samples)), NUM_BINS), -200.0)
    magnitude = spectrogram(samples, FeatureConfig(compression="magnitude", level="none"))
    return 20 * np.log10(np.maximum(magnitude, 1e-10))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def save(figure: Figure, path: Path) -> None:
    """Writes a figure to a PNG file."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI)
