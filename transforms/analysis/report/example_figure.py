"""The figure of an example as HTML and SVG. The style sheet sets colours and sizes, so that it fits every window and theme.

The spectrogram is a PNG. Curves, shades and lines are drawn in a coordinate system of `WIDTH` x `HEIGHT` that the browser
stretches. Texts are HTML, which is not stretched.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from PIL import Image

from model.diagnosis import HEARD_CAUSES, NO_CAUSE
from model.evaluation.figures import RANGE_DB
from model.features import SAMPLE_RATE
from transforms.analysis.cause_lane import COLOURS
from transforms.analysis.figure import (
    MAX_MARKED_ANOMALIES,
    FigureData,
    ScoreCurve,
    column_causes_of,
    frames_extent,
    score_limits,
)
from transforms.analysis.report.embedded_data import data_uri
from transforms.analysis.report.html import Html, element

WIDTH, HEIGHT = 10_000, 1_000
# Rows and levels of the picture of a spectrogram. More of them make a larger file, but look the same.
ROWS, LEVELS = 128, 64
# Largest numbers of labels of the axes; more would overlap on a phone.
MAX_TIMES, MAX_SCORES = 7, 5
_TOP_KHZ = SAMPLE_RATE // 2000


def spectrogram_png(level_db: np.ndarray) -> bytes:
    """Returns a spectrogram [C, 257] in dB as a PNG, the highest frequency above."""
    below = np.clip(1 + (level_db - level_db.max()) / RANGE_DB, 0, 1)
    # The first bin is 0 Hz. Each row is the louder of two bins, so that narrow tones stay visible.
    rows = below[:, 1:].reshape(len(below), ROWS, -1).max(axis=2)
    image = Image.fromarray(np.round(rows.T[::-1] * (LEVELS - 1)).astype(np.uint8), "P")
    image.putpalette(mpl.colormaps["magma"](np.linspace(0, 1, LEVELS), bytes=True)[:, :3].tobytes())
    file = io.BytesIO()
    image.save(file, "png", optimize=True, bits=6)
    return file.getvalue()


def example_figure(data: FigureData, clip: tuple[float, float] | None, text: str) -> Html:
    """Returns the figure of an example.

    Args:
        data: the recording and its scores; the title is not shown.
        clip: (start_s, end_s) of the part to play; None for no mark.
        text: description of the figure for readers who cannot see it.
    """
    times = _ticks(0, data.duration_s, MAX_TIMES)
    causes = column_causes_of(data)
    has_causes = bool((causes != NO_CAUSE).any())
    lanes = [_spectrogram(data, clip, text), _scores(data, times)]
    if has_causes:
        lanes.append(_causes(data, causes))
    labels = [element("span", f"{time:,g}", style=f"left:{_percent(time, data)}") for time in times]
    axis = element("div", *labels, class_="times", aria_hidden="true")
    return element(
        "figure",
        *lanes,
        axis,
        element("div", "time (s)", class_="unit", aria_hidden="true"),
        _legend(data, clip, causes if has_causes else None),
        class_="recording",
    )


def _spectrogram(data: FigureData, clip: tuple[float, float] | None, text: str) -> Html:
    parts = [_title("frequency (kHz)"), *_labels([0, _TOP_KHZ // 2, _TOP_KHZ], 0, _TOP_KHZ)]
    if data.level_db is None:
        parts.append(element("p", "the audio cannot be read"))
        parts.append(element("p", text, class_="hidden"))
    else:
        start, end = frames_extent(data)
        place = f"left:{_percent(start, data)};width:{_percent(end - start, data)}"
        parts.append(element("img", src=data_uri("image/png", spectrogram_png(data.level_db)), alt=text, style=place))
        levels = [-RANGE_DB, -RANGE_DB / 2, 0]
        bar = element("div", *_labels(levels, -RANGE_DB, 0), _title("level (dB)"), class_="levels", aria_hidden="true")
        parts.append(bar)
        if len(data.anomalies) <= MAX_MARKED_ANOMALIES:
            edges = [_vertical(edge, data, "edge") for span in data.anomalies for edge in span]
            parts.append(_drawing(edges))
    if clip:
        place = f"left:{_percent(clip[0], data)};width:{_percent(clip[1] - clip[0], data)}"
        parts.append(element("div", class_="part", style=place))
    return element("div", *parts, class_="lane spectrum")


def _scores(data: FigureData, times: Sequence[float]) -> Html:
    curve = ScoreCurve.of(data.frame_score)
    low, high = score_limits(data)
    ticks = _ticks(data.scale.low, data.scale.high, MAX_SCORES)
    x = np.round(curve.time_s / data.duration_s * WIDTH).astype(int)

    def y_of(scores: np.ndarray) -> np.ndarray:
        return np.round((high - scores) / (high - low) * HEIGHT).astype(int)

    def horizontal(score: float, kind: str) -> Html:
        return _line((0, WIDTH), (int(y_of(np.array(score))),) * 2, kind)

    parts = [horizontal(tick, "grid") for tick in ticks] + [_vertical(time, data, "grid") for time in times]
    for start, end in data.anomalies:
        left, right = (round(edge / data.duration_s * WIDTH) for edge in (start, end))
        parts.append(element("rect", x=str(left), y="0", width=str(right - left), height=str(HEIGHT), class_="anomaly"))
    if curve.is_reduced:
        outline = [*zip(x, y_of(curve.lowest), strict=True), *zip(x[::-1], y_of(curve.highest)[::-1], strict=True)]
        parts.append(element("path", d=f"{_path(outline)}z", class_="band"))
    if data.score is not None:
        parts.append(horizontal(data.score, "score"))
    if data.threshold is not None:
        parts.append(horizontal(data.threshold, "limit"))
    points = list(zip(x, y_of(curve.mean), strict=True))
    # A point alone is drawn as a short line.
    points += [(points[0][0] + WIDTH // 200, points[0][1])] if len(points) == 1 else []
    parts.append(element("path", d=_path(points), class_="curve"))
    title = f"frame score ({data.scale.short_title})"
    return element("div", _title(title), *_labels(ticks, low, high), _drawing(parts), class_="lane scores")


def _causes(data: FigureData, causes: np.ndarray) -> Html:
    """Returns the lane of the causes. Neighbouring columns with the same cause share a rectangle."""
    start, end = frames_extent(data)
    starts = np.flatnonzero(np.diff(causes, prepend=NO_CAUSE - 1))
    ends = np.append(starts[1:], len(causes))
    edges = (start + np.arange(len(causes) + 1) / len(causes) * (end - start)) / data.duration_s * WIDTH
    parts = [
        element(
            "rect",
            x=str(round(edges[first])),
            y="0",
            width=str(round(edges[last]) - round(edges[first])),
            height=str(HEIGHT),
            fill=COLOURS[causes[first]],
        )
        for first, last in zip(starts.tolist(), ends.tolist(), strict=True)
        if causes[first] != NO_CAUSE
    ]
    label = element("span", "cause", class_="y", style="bottom:50%", aria_hidden="true")
    return element("div", label, _drawing(parts), class_="lane causes")


def _legend(data: FigureData, clip: tuple[float, float] | None, causes: np.ndarray | None) -> Html:
    is_reduced = ScoreCurve.of(data.frame_score).is_reduced
    entries = [("curve", "frame score, mean" if is_reduced else "frame score")]
    entries += [("band", "lowest to highest")] if is_reduced else []
    entries += [] if data.score is None else [("score", f"score of the recording: {data.score:.2f}")]
    entries += [] if data.threshold is None else [("limit", f"threshold of anomalies: {data.threshold:.2f}")]
    entries += [("anomaly", "anomaly")] if data.anomalies else []
    entries += [("part", "part to play")] if clip else []
    items = [element("li", element("i", class_=kind), text) for kind, text in entries]
    for index in [] if causes is None else np.unique(causes[causes != NO_CAUSE]).tolist():
        swatch = element("i", style=f"background:{COLOURS[index]}")
        items.append(element("li", swatch, HEARD_CAUSES[index].replace("_", " ")))
    return element("ul", *items, class_="legend", aria_hidden="true")


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Returns round numbers from `low` to `high` at equal distances: 1, 2 or 5 times a power of ten."""
    least = (high - low) / most
    power = 10 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 6) for n in range(first, last + 1)]


def _labels(values: Sequence[float], low: float, high: float) -> list[Html]:
    """Returns the labels of a vertical axis."""
    places = [f"bottom:{100 * (value - low) / (high - low):.2f}%" for value in values]
    return [
        element("span", f"{value:g}", class_="y", style=place, aria_hidden="true")
        for value, place in zip(values, places, strict=True)
    ]


def _title(text: str) -> Html:
    return element("span", text, class_="title", aria_hidden="true")


def _drawing(parts: Sequence[Html]) -> Html:
    view = f"0 0 {WIDTH} {HEIGHT}"
    return element("svg", *parts, viewBox=view, preserveAspectRatio="none", aria_hidden="true")


def _vertical(time_s: float, data: FigureData, kind: str) -> Html:
    x = round(time_s / data.duration_s * WIDTH)
    return _line((x, x), (0, HEIGHT), kind)


def _line(x: tuple[int, int], y: tuple[int, int], kind: str) -> Html:
    return element("path", d=_path(list(zip(x, y, strict=True))), class_=kind)


def _path(points: Sequence[tuple[int, int]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def _percent(time_s: float, data: FigureData) -> str:
    return f"{100 * time_s / data.duration_s:.2f}%"
