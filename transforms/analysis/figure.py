"""Draws a recording: its spectrogram above its frame scores, with the anomalies shaded, and the causes of damage below."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.diagnosis import NO_CAUSE
from model.evaluation.figures import RANGE_DB, STYLE
from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE, frame_start_s
from model.labels import LabelScale
from transforms.analysis.cause_lane import column_causes, draw_causes
from transforms.analysis.spectrogram_image import COLUMNS, column_edges, reduced_db
from transforms.analysis.title_fonts import choose_fonts
from transforms.audio.waveform import Waveform
from transforms.scoring.utterance_score import Score

# More marked anomalies would hide the spectrogram. The plot of the scores always shades all anomalies.
MAX_MARKED_ANOMALIES = 20
INCHES_PER_LEGEND_COLUMN = 1.28
# Longer utterance ids would not fit into the width of the figure.
MAX_TITLE_LETTERS = 90


@dataclasses.dataclass(frozen=True)
class Colours:
    """Colours of a figure, as #rrggbb.

    Attributes:
        paper: background.
        ink: text and axes.
        line: frame scores.
        score: score of the recording.
        anomaly: shade over the anomalies.
    """

    paper: str
    ink: str
    line: str
    score: str
    anomaly: str


PALETTE = Colours(paper="#ffffff", ink="#1b222c", line="#0b5fa5", score="#1b222c", anomaly="#c62828")


@dataclasses.dataclass(frozen=True)
class FigureData:
    """The data that a figure shows.

    Attributes:
        title: title of the figure; empty for none.
        level_db: spectrogram [C, 257] in dB (`reduced_db`); None if the audio cannot be read.
        duration_s: length of the recording, in seconds.
        frame_score: frame scores [T].
        anomalies: (start_s, end_s) of each anomaly.
        scale: scale of the scores.
        frame_causes: index in `HEARD_CAUSES` of the cause of each frame, or `NO_CAUSE`: int8 [T]; None without a diagnosis.
        score: score of the recording; None for no line.
        threshold: score below which a frame is evidence of an anomaly; None for no line.
    """

    title: str
    level_db: np.ndarray | None
    duration_s: float
    frame_score: np.ndarray
    anomalies: Sequence[tuple[float, float]]
    scale: LabelScale
    frame_causes: np.ndarray | None = None
    score: float | None = None
    threshold: float | None = None

    @classmethod
    def of(cls, score: Score, waveform: Waveform, name: str) -> FigureData:
        """Returns the data of a recording that was just scored.

        Args:
            score: its score.
            waveform: its samples, at 16 kHz.
            name: name for the title; may be empty.
        """
        return cls(
            title=title(name, score.score, score.label_scale, score.model_id),
            level_db=reduced_db(waveform),
            duration_s=score.duration_s,
            frame_score=score.frame_score,
            anomalies=[(anomaly.start_s, anomaly.end_s) for anomaly in score.anomalies],
            scale=score.label_scale,
            frame_causes=None if score.diagnosis is None else score.diagnosis.frame_causes(),
            score=score.score,
            threshold=score.anomaly_threshold,
        )


def title(name: str, score: float, scale: LabelScale, model_id: str) -> str:
    """Returns the title of a figure: the name, if any, on its own line, and the score."""
    text = f"score {score:.2f} on a scale of {scale.low:g} to {scale.high:g}, by {model_id}"
    return f"{one_line(name)}\n{text}" if name else text


@dataclasses.dataclass(frozen=True)
class ScoreCurve:
    """The frame scores in at most `COLUMNS` columns.

    Attributes:
        time_s: middle of the frames of each column, in seconds [C].
        mean: mean score of each column [C].
        lowest: lowest score of each column [C].
        highest: highest score of each column [C].
        is_reduced: whether several frames share a column.
    """

    time_s: np.ndarray
    mean: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    is_reduced: bool

    @classmethod
    def of(cls, frame_score: np.ndarray) -> ScoreCurve:
        """Returns the curve of frame scores [T]."""
        edges = column_edges(len(frame_score), COLUMNS)
        first = edges[:-1]
        return cls(
            time_s=frame_start_s((first + edges[1:] - 1) / 2) + FRAME_LENGTH / 2 / SAMPLE_RATE,
            mean=np.add.reduceat(frame_score.astype(np.float64), first) / np.diff(edges),
            lowest=np.minimum.reduceat(frame_score, first),
            highest=np.maximum.reduceat(frame_score, first),
            is_reduced=len(first) < len(frame_score),
        )


def score_limits(data: FigureData) -> tuple[float, float]:
    """Returns the ends of the axis of the frame scores."""
    margin = 0.03 * data.scale.span
    lowest, highest = float(data.frame_score.min()), float(data.frame_score.max())
    return min(data.scale.low, lowest) - margin, max(data.scale.high, highest) + margin


def draw(data: FigureData, size: tuple[float, float] = (10, 4.6)) -> Figure:
    """Draws a recording. Without causes, there is no lane for them.

    Args:
        data: the recording and its scores.
        size: width and height of the figure, in inches.
    """
    style = {
        **STYLE,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), PALETTE.ink),
        "figure.facecolor": PALETTE.paper,
        "axes.facecolor": PALETTE.paper,
        "savefig.facecolor": PALETTE.paper,
        # A name with $ in it must not be parsed as a formula.
        "text.parse_math": False,
        "svg.hashsalt": "audiosieve",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        causes = column_causes_of(data)
        has_causes = bool((causes != NO_CAUSE).any())
        rows = figure.subplots(2 + has_causes, 1, sharex=True, height_ratios=(3, 2, 0.25)[: 2 + has_causes])
        handles = _draw_scores(rows[1], data)
        _draw_spectrogram(rows[0], data)
        if has_causes:
            handles += draw_causes(rows[2], causes, frames_extent(data))
        rows[-1].set_xlim(0, data.duration_s)
        rows[-1].set_xlabel("time (s)")
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(len(handles), int(size[0] / INCHES_PER_LEGEND_COLUMN)),
            fontsize="small",
            handlelength=1.4,
            columnspacing=1.2,
            frameon=False,
        )
        if data.title:
            fonts = choose_fonts(data.title)
            figure.suptitle(fonts.drawable(data.title), family=fonts.families)
        # Lay out the figure within the context, because matplotlib applies some of the style only then.
        figure.draw_without_rendering()
    return figure


def save(figure: Figure, file: Path | IO[bytes], kind: str, dpi: int = 120) -> None:
    """Writes a figure as "png" or "svg". Equal figures give equal bytes."""
    with mpl.rc_context({"svg.hashsalt": "audiosieve", "svg.fonttype": "path", "text.parse_math": False}):
        figure.savefig(file, format=kind, dpi=dpi, metadata={"Software": None} if kind == "png" else {"Date": None})


def one_line(text: str) -> str:
    """Returns a text as one line for a title. A long text is shortened in its middle."""
    # Joiners, which Persian and Indian scripts use within words, leave no gap.
    text = text.translate(dict.fromkeys(map(ord, "\u200c\u200d")))
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    if len(text) <= MAX_TITLE_LETTERS:
        return text
    half = MAX_TITLE_LETTERS // 2 - 1
    return f"{text[:half]} … {text[-half:]}"


def frames_extent(data: FigureData) -> tuple[float, float]:
    """Returns start and end of the frames in seconds. Each is drawn around its middle, one frame shift wide."""
    margin = (FRAME_LENGTH - FRAME_SHIFT) / 2 / SAMPLE_RATE
    return margin, margin + len(data.frame_score) * FRAME_SHIFT / SAMPLE_RATE


def column_causes_of(data: FigureData) -> np.ndarray:
    """Returns the cause of each column of a figure; an empty array without a diagnosis."""
    if data.frame_causes is None:
        return np.empty(0, np.int8)
    return column_causes(data.frame_causes, column_edges(len(data.frame_causes), COLUMNS))


def _draw_spectrogram(axes: Axes, data: FigureData) -> None:
    axes.grid(visible=False)
    axes.set_ylabel("frequency\n(kHz)")
    axes.set_ylim(0, SAMPLE_RATE / 2000)
    if data.level_db is None:
        axes.text(0.5, 0.5, "the audio cannot be read", transform=axes.transAxes, ha="center", va="center")
        return
    image = axes.imshow(
        data.level_db.T - data.level_db.max(),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-RANGE_DB,
        vmax=0,
        extent=(*frames_extent(data), 0, SAMPLE_RATE / 2000),
        interpolation="nearest",
    )
    # Axes inside those of the spectrogram leave the time axes of all rows aligned.
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.012, 0, 0.012, 1)), ticks=(-RANGE_DB, -RANGE_DB / 2, 0))
    bar.set_label("level (dB)")
    bar.outline.set_visible(False)
    if len(data.anomalies) <= MAX_MARKED_ANOMALIES:
        for span in data.anomalies:
            for edge in span:
                axes.axvline(edge, color="white", linestyle="--", linewidth=0.9)


def _draw_scores(axes: Axes, data: FigureData) -> list[Artist]:
    """Draws the frame scores, and returns the legend's artists."""
    drawn = ScoreCurve.of(data.frame_score)
    (curve,) = axes.plot(
        drawn.time_s,
        drawn.mean,
        color=PALETTE.line,
        linewidth=1.1,
        marker="." if len(drawn.mean) == 1 else None,
        label="frame score, mean" if drawn.is_reduced else "frame score",
    )
    handles: list[Artist] = [curve]
    if drawn.is_reduced:
        band = axes.fill_between(
            drawn.time_s,
            drawn.lowest,
            drawn.highest,
            color=PALETTE.line,
            alpha=0.25,
            linewidth=0,
            label="lowest to highest",
        )
        handles.append(band)
    if data.score is not None:
        label = f"score of the recording: {data.score:.2f}"
        handles.append(axes.axhline(data.score, color=PALETTE.score, linewidth=0.9, linestyle="--", label=label))
    if data.threshold is not None:
        label = f"threshold of anomalies: {data.threshold:.2f}"
        handles.append(axes.axhline(data.threshold, color=PALETTE.anomaly, linewidth=0.9, linestyle=":", label=label))
    if data.anomalies:
        bars = [(start, end - start) for start, end in data.anomalies]
        shade = axes.broken_barh(bars, (0, 1), transform=axes.get_xaxis_transform(), color=PALETTE.anomaly)
        shade.set(alpha=0.22, linewidth=0, label="anomaly")
        handles.append(shade)
    axes.set_ylim(*score_limits(data))
    axes.set_ylabel(f"frame score\n({data.scale.short_title})")
    return handles
