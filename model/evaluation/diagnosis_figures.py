"""Figures of diagnoses: reliability of the probabilities, and predicted against true values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from model.evaluation.figures import STYLE, save
from model.evaluation.value_measures import C50_EDGES_DB, KEEP_FROM, SNR_EDGES_DB

COLUMNS = 3


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis of a scatter plot.

    Attributes:
        title: quantity, with its unit.
        low: lower end.
        high: upper end.
        threshold: value that is marked on both axes; None for none.
        source: source of the truth.
    """

    title: str
    low: float
    high: float
    threshold: float | None = None
    source: str = "true"


_RATING: Any = {"low": 1.0, "high": 5.0, "threshold": KEEP_FROM, "source": "DNSMOS"}
# Both scales of dB are a little wider than the measured range, so that what lies beyond it can be seen.
SCATTERS = {
    "snr_db": Axis("SNR over the speech in dB", SNR_EDGES_DB[0] - 5, SNR_EDGES_DB[-1] + 10),
    "c50_db": Axis("clarity index C50 in dB", C50_EDGES_DB[0] - 5, C50_EDGES_DB[-1] + 10),
    "mos_sig": Axis("rating of the speech (mos_sig), 1 to 5", **_RATING),
    "mos_bak": Axis("rating of the background (mos_bak), 1 to 5", **_RATING),
    "mos_ovrl": Axis("overall rating (mos_ovrl), 1 to 5", **_RATING),
}


def draw_reliability(path: Path, curves: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Draws for each cause how often frames truly have it, by the predicted probability, one panel a cause.

    Args:
        path: path of the PNG file.
        curves: measures of frames by cause: "reliability" (`cause_measures.reliability`), and numbers of frames "known" and
            "with_cause"; at least one cause.
        title: title of the figure.
    """
    with mpl.rc_context(STYLE):
        lines = -(-len(curves) // COLUMNS)
        figure = Figure(figsize=(3 * COLUMNS, 0.8 + 2.8 * lines), layout="constrained")
        panels = figure.subplots(lines, COLUMNS, squeeze=False, sharey=True)
        for axes in panels.flat[len(curves) :]:
            axes.set_visible(False)
        for axes, (cause, measured) in zip(panels.flat, curves.items(), strict=False):
            points = measured["reliability"]
            axes.plot((0, 1), (0, 1), color="0.4", linewidth=1)
            axes.plot([p["probability"] for p in points], [p["share"] for p in points], marker="o", markersize=4)
            axes.set_title(f"{cause} ({measured['with_cause']:,} of {measured['known']:,} frames)", fontsize=8)
            axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        figure.supxlabel("predicted probability of the cause in a frame")
        figure.supylabel("share of frames with the cause")
        figure.suptitle(title)
        save(figure, path)


def draw_scatter(
    path: Path, truth: np.ndarray, predicted: np.ndarray, is_real: np.ndarray, axis: Axis, title: str
) -> None:
    """Draws predicted against true values. Real recordings have another colour than made clips.

    Args:
        path: path of the PNG file.
        truth: true value of each clip [N]; NaN where there is none.
        predicted: predicted value of each clip [N]; NaN where there is none.
        is_real: whether each clip is a real recording, bool [N].
        axis: both axes; values beyond their ends are drawn at the ends.
        title: title of the figure.
    """
    ends = (axis.low, axis.high)
    both = np.isfinite(truth) & np.isfinite(predicted)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.add_subplot(xlabel=f"{axis.source}: {axis.title}", ylabel=f"predicted: {axis.title}", title=title)
        for name, selected, colour in (("made clips", ~is_real, "C0"), ("real recordings", is_real, "C1")):
            x, y = (np.clip(values[both & selected], *ends) for values in (truth, predicted))
            if len(x):
                axes.scatter(x, y, s=8, alpha=0.5, linewidths=0, color=colour, label=f"{name} ({len(x)})")
        axes.plot(ends, ends, color="0.4", linewidth=1)
        if axis.threshold is not None:
            axes.axvline(axis.threshold, color="0.4", linestyle="--", linewidth=1)
            axes.axhline(axis.threshold, color="0.4", linestyle="--", linewidth=1)
        axes.set(xlim=ends, ylim=ends)
        if both.any():
            axes.legend()
        save(figure, path)
