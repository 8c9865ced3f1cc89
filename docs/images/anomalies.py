"""Draws docs/images/anomalies.png, which explains how anomalies are found: `python docs/images/anomalies.py`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from model.anomalies import find_anomalies, find_levels, smoothed
from model.features import frame_start_s
from model.labels import PESQ_WB
from transforms.analysis.figure import PALETTE, save

FRAMES_PER_S = 62.5


def small_png(figure: Figure, dpi: int = 100) -> bytes:
    """Returns a figure as a PNG of 256 colours, which has a third of the size of a full-colour PNG."""
    full = io.BytesIO()
    save(figure, full, "png", dpi)
    reduced = io.BytesIO()
    Image.open(full).convert("RGB").quantize(256).save(reduced, "png", optimize=True)
    return reduced.getvalue()


def scores_of(*parts: tuple[float, float, float]) -> np.ndarray:
    """Makes frame scores that swing as those of speech do.

    Args:
        parts: length in seconds, mean score, and standard deviation of each part.
    """
    lengths = [round(seconds * FRAMES_PER_S) for seconds, _, _ in parts]
    steps = np.random.default_rng(3).normal(0, 1, sum(lengths) + 19)
    swing = np.convolve(steps, np.ones(20), "valid") / np.sqrt(20)
    mean, deviation = (np.repeat([part[place] for part in parts], lengths) for place in (1, 2))
    return np.clip(mean + swing * deviation, PESQ_WB.low, PESQ_WB.high)


def draw(axes: Axes, title: str, scores: np.ndarray, *, legend: bool) -> None:
    """Draws frame scores, the levels that are found from them, and the anomalies."""
    levels = find_levels(smoothed(scores / PESQ_WB.span))
    axes.plot(frame_start_s(np.arange(len(scores))), scores, color=PALETTE.line, linewidth=0.8)
    axes.axhline(levels.good * PESQ_WB.span, color="#2e7d32", linewidth=1.2, label="good level")
    axes.axhline(levels.threshold * PESQ_WB.span, color="#2e7d32", linewidth=1.2, linestyle="--", label="threshold")
    for number, anomaly in enumerate(find_anomalies(scores, PESQ_WB.span)):
        label = None if number else "anomaly"
        axes.axvspan(anomaly.start_s, anomaly.end_s, color=PALETTE.anomaly, alpha=0.22, linewidth=0, label=label)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlim(0, len(scores) / FRAMES_PER_S)
    axes.set_ylim(0.9, 4.75)
    axes.set_ylabel("frame score")
    if legend:
        axes.legend(loc="lower right", ncols=3, fontsize=8)


def main() -> None:
    """Draws the figure."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    short, long, even = figure.subplots(3, 1)
    draw(
        short,
        "5 s: a short recording needs only a small drop",
        scores_of((2, 4.4, 0.1), (0.6, 2.8, 0.3), (2.4, 4.4, 0.1)),
        legend=False,
    )
    draw(
        long,
        "3 min: one minute is noisy, and a dip at 20 s is not deep enough for so long a recording",
        scores_of((20, 4.3, 0.2), (0.6, 3.2, 0.1), (39.4, 4.3, 0.2), (60, 1.7, 0.3), (60, 4.3, 0.2)),
        legend=True,
    )
    draw(
        even,
        "1 min: an even recording has no anomaly, however its frames fluctuate",
        scores_of((60, 2.7, 0.6)),
        legend=False,
    )
    even.set_xlabel("s")
    Path(__file__).with_suffix(".png").write_bytes(small_png(figure, dpi=110))


if __name__ == "__main__":
    main()
