"""A recording drawn: its spectrogram over the scores of its frames, with the anomalies shaded."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from model.evaluation.figures import RANGE_DB, STYLE
from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE, frame_start_s
from model.labels import LabelScale
from transforms.analysis.spectrogram_image import COLUMNS, column_edges

# The edges of more anomalies would hide the spectrogram; they are shaded among the scores however many they are.
MOST_EDGES = 20
# An id may be a whole sentence; a title is one line.
TITLE_LETTERS = 90


@dataclasses.dataclass(frozen=True)
class Colours:
    """What a figure is drawn with.

    Attributes:
        paper: behind all.
        ink: of text and axes.
        line: of the scores.
        anomaly: of the shade over anomalies.
        mark: of what is pointed out.
    """

    paper: str
    ink: str
    line: str
    anomaly: str
    mark: str


LIGHT = Colours(paper="#ffffff", ink="#1b222c", line="#0b5fa5", anomaly="#c62828", mark="#5f6368")
DARK = Colours(paper="#1a1f27", ink="#e4e8ee", line="#7cc0ff", anomaly="#ff7b72", mark="#b6bec9")


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is drawn.

    Attributes:
        title: over the figure; none where empty.
        level_db: its spectrogram (`reduced_db`), [C, 257]; None where its audio cannot be had.
        duration_s: how long it is.
        frame_score: of its frames [T].
        anomalies: (start_s, end_s) of each.
        scale: of the scores.
        clip: (start_s, end_s) of the part to mark; None to mark none.
    """

    title: str
    level_db: np.ndarray | None
    duration_s: float
    frame_score: np.ndarray
    anomalies: Sequence[tuple[float, float]]
    scale: LabelScale
    clip: tuple[float, float] | None = None


def draw(subject: Subject, colours: Colours = LIGHT, size: tuple[float, float] = (10, 4.6)) -> Figure:
    """Draws a recording.

    Args:
        subject: what to draw.
        colours: what with.
        size: of the figure, in inches.
    """
    style = {
        **STYLE,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), colours.ink),
        "figure.facecolor": colours.paper,
        "axes.facecolor": colours.paper,
        "savefig.facecolor": colours.paper,
        # A recording's name is no formula, whatever signs are in it.
        "text.parse_math": False,
        "svg.hashsalt": "audiosieve",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _draw_spectrogram(above, subject, colours)
        _draw_scores(below, subject, colours)
        below.set_xlim(0, subject.duration_s)
        if subject.title:
            figure.suptitle(subject.title)
        # The style counts when the figure is laid out, which is when it is drawn.
        figure.draw_without_rendering()
    return figure


def save(figure: Figure, file: Path | IO[bytes], kind: str, dpi: int = 120) -> None:
    """Writes a figure as "png" or "svg"; the same figure is always the same bytes."""
    with mpl.rc_context({"svg.hashsalt": "audiosieve", "svg.fonttype": "path", "text.parse_math": False}):
        figure.savefig(file, format=kind, dpi=dpi, metadata={"Software": None} if kind == "png" else {"Date": None})


def small_png(figure: Figure, dpi: int = 100) -> bytes:
    """A figure as a PNG of 256 colours, a third of the size of one of all colours."""
    drawn = io.BytesIO()
    save(figure, drawn, "png", dpi)
    packed = io.BytesIO()
    Image.open(drawn).convert("RGB").quantize(256).save(packed, "png", optimize=True)
    return packed.getvalue()


def one_line(text: str) -> str:
    """A text as one line that is not too long for a title: its beginning and its end."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    if len(text) <= TITLE_LETTERS:
        return text
    half = TITLE_LETTERS // 2 - 1
    return f"{text[:half]} … {text[-half:]}"


def _draw_spectrogram(axes: Axes, subject: Subject, colours: Colours) -> None:
    axes.grid(visible=False)
    axes.set_ylabel("kHz")
    axes.set_ylim(0, SAMPLE_RATE / 2000)
    if subject.level_db is None:
        axes.text(0.5, 0.5, "the audio cannot be read", transform=axes.transAxes, ha="center", va="center")
        return
    # A frame is drawn around its middle, as wide as the step from one to the next.
    margin = (FRAME_LENGTH - FRAME_SHIFT) / 2 / SAMPLE_RATE
    end = margin + len(subject.frame_score) * FRAME_SHIFT / SAMPLE_RATE
    axes.imshow(
        subject.level_db.T, origin="lower", aspect="auto", cmap="magma", vmin=subject.level_db.max() - RANGE_DB,
        extent=(margin, end, 0, SAMPLE_RATE / 2000), interpolation="nearest",
    )  # fmt: skip
    if len(subject.anomalies) <= MOST_EDGES:
        for span in subject.anomalies:
            for edge in span:
                axes.axvline(edge, color="white", linestyle="--", linewidth=0.9)
    if subject.clip:
        axes.plot(subject.clip, (1.02, 1.02), transform=axes.get_xaxis_transform(), color=colours.mark, linewidth=3,
            clip_on=False, solid_capstyle="butt")  # fmt: skip


def _draw_scores(axes: Axes, subject: Subject, colours: Colours) -> None:
    scale, frame_score = subject.scale, subject.frame_score
    edges = column_edges(len(frame_score), COLUMNS)
    first, sizes = edges[:-1], np.diff(edges)
    # A frame's score stands at the frame's middle, that of several in the middle of them all.
    time = frame_start_s((first + edges[1:] - 1) / 2) + FRAME_LENGTH / 2 / SAMPLE_RATE
    mean = np.add.reduceat(frame_score.astype(np.float64), first) / sizes
    if len(first) < len(frame_score):
        low, high = np.minimum.reduceat(frame_score, first), np.maximum.reduceat(frame_score, first)
        axes.fill_between(time, low, high, color=colours.line, alpha=0.25, linewidth=0)
    axes.plot(time, mean, color=colours.line, linewidth=1.1, marker="." if len(time) == 1 else None)
    bars = [(start, end - start) for start, end in subject.anomalies]
    axes.broken_barh(bars, (0, 1), transform=axes.get_xaxis_transform(), color=colours.anomaly, alpha=0.22, linewidth=0)
    lowest, highest = min(scale.low, float(frame_score.min())), max(scale.high, float(frame_score.max()))
    axes.set_ylim(lowest - 0.03 * scale.span, highest + 0.03 * scale.span)
    axes.set_ylabel(f"frame score\n{scale.name}")
    axes.set_xlabel("s")
