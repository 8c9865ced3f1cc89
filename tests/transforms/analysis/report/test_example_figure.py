"""The figure of an example: one picture of the spectrogram, and curves and lines that the style sheet colours."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.diagnosis import HEARD_CAUSES, NO_CAUSE
from model.labels import PESQ_WB
from transforms.analysis.cause_lane import COLOURS
from transforms.analysis.figure import FigureData
from transforms.analysis.report.example_figure import HEIGHT, ROWS, WIDTH, _ticks, example_figure, spectrogram_png


@pytest.fixture(scope="module")
def data() -> FigureData:
    """Three seconds whose loudest point is 2 kHz at a sixth of the length, with an anomaly."""
    level_db = np.full((186, 257), -60.0)
    level_db[31, 64] = 10.0
    frame_score = np.linspace(1.0, 4.64, 186, dtype=np.float32)
    return FigureData("", level_db, 3.0, frame_score, [(1.0, 2.0)], PESQ_WB, score=3.456, threshold=2.5)


def points(path: ET.Element) -> list[tuple[float, float]]:
    """Returns the points of a path in shares of the width and height, from the left and from below."""
    pairs = re.findall(r"(-?\d+) (-?\d+)", path.get("d") or "")
    return [(int(x) / WIDTH, 1 - int(y) / HEIGHT) for x, y in pairs]


def test_the_picture_has_a_column_a_frame_and_the_highest_frequency_above(data):
    image = Image.open(io.BytesIO(spectrogram_png(data.level_db)))
    assert image.size == (186, ROWS)
    shown = np.asarray(image.convert("RGB")).astype(int).sum(axis=2)
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    assert (column, ROWS - row) == (31, 32), "2 kHz is a quarter of the height"
    assert len(set(shown.ravel().tolist())) == 2
    assert shown.min() < 120 < 600 < shown.max()


def test_a_figure_has_one_picture_for_all_windows_and_themes(data):
    html = example_figure(data, None, "A text")
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)" alt="A text"', html)
    assert base64.b64decode(picture) == spectrogram_png(data.level_db)
    assert not re.search(r"#[0-9a-f]{6}", html), "the style sheet has the colours"


def test_the_curve_and_the_lines_are_where_the_scores_are(data):
    html = example_figure(data, None, "A text")
    low, high = 1 - 0.03 * 3.64, 4.64 + 0.03 * 3.64

    def lines(kind: str) -> list[list[tuple[float, float]]]:
        paths = re.findall(rf'<path d="([^"]+)" class="{kind}">', html)
        return [points(ET.Element("path", d=path)) for path in paths]

    (curve,), (score,), (limit,) = lines("curve"), lines("score"), lines("limit")
    assert [3 * x for x, _ in curve] == pytest.approx(0.016 + np.arange(186) * 0.016, abs=0.001)
    assert [low + y * (high - low) for _, y in curve] == pytest.approx(data.frame_score, abs=0.004)
    assert [low + y * (high - low) for _, y in score] == pytest.approx([3.456] * 2, abs=0.004)
    assert [low + y * (high - low) for _, y in limit] == pytest.approx([2.5] * 2, abs=0.004)
    assert [[3 * x for x, _ in edge] for edge in lines("edge")] == [
        pytest.approx([edge] * 2, abs=0.001) for edge in (1, 2)
    ]
    assert re.findall(r'<rect x="(\d+)" y="0" width="(\d+)"[^>]* class="anomaly">', html) == [("3333", "3334")]


def legend_of(html: str) -> list[str]:
    return re.findall(r"</i>([^<]*)</li>", html)


def test_the_legend_names_what_is_drawn(data):
    assert legend_of(example_figure(data, (0.5, 1.0), "A text")) == [
        "frame score",
        "score of the recording: 3.46",
        "threshold of anomalies: 2.50",
        "anomaly",
        "part to play",
    ]
    plain = dataclasses.replace(data, anomalies=[], score=None, threshold=None)
    assert legend_of(example_figure(plain, None, "A text")) == ["frame score"]


def test_neighbouring_frames_of_a_cause_share_a_rectangle(data):
    causes = np.full(186, NO_CAUSE, np.int8)
    causes[50:80] = HEARD_CAUSES.index("music")
    causes[80:90] = HEARD_CAUSES.index("second_voice")
    html = example_figure(dataclasses.replace(data, frame_causes=causes), None, "A text")
    shades = re.findall(r'<rect x="(\d+)" y="0" width="(\d+)"[^>]* fill="(#\w+)">', html)
    starts = [int(x) / WIDTH * 3 for x, _, _ in shades]
    assert starts == pytest.approx([0.008 + 50 * 0.016, 0.008 + 80 * 0.016], abs=0.001)
    assert [int(width) / WIDTH * 3 for _, width, _ in shades] == pytest.approx([30 * 0.016, 10 * 0.016], abs=0.001)
    assert [colour for *_, colour in shades] == [
        COLOURS[HEARD_CAUSES.index(name)] for name in ("music", "second_voice")
    ]
    assert legend_of(html)[-2:] == ["music", "second voice"]
    nothing = dataclasses.replace(data, frame_causes=np.full(186, NO_CAUSE, np.int8))
    assert "causes" not in example_figure(nothing, None, "A text")


def test_a_long_recording_has_a_band(data):
    frame_score = np.tile([1.0, 4.0], 100_000).astype(np.float32)
    html = example_figure(dataclasses.replace(data, frame_score=frame_score, duration_s=3200.0), None, "A text")
    assert legend_of(html)[:2] == ["frame score, mean", "lowest to highest"]
    assert len(html) < 60_000


def test_a_recording_without_audio_or_with_one_frame_has_a_figure(data):
    html = example_figure(dataclasses.replace(data, level_db=None), None, "A text")
    assert "the audio cannot be read" in html
    assert "<img" not in html
    assert "A text" in html
    one = FigureData("", np.zeros((1, 257)), 0.032, np.array([3.0], np.float32), [], PESQ_WB)
    (path,) = re.findall(r'<path d="([^"]+)" class="curve">', example_figure(one, None, "A text"))
    assert len(points(ET.Element("path", d=path))) == 2


@given(st.floats(0.032, 1e6), st.integers(3, 9))
def test_ticks_are_round_few_and_evenly_spaced(high, most):
    ticks = _ticks(0, high, most)
    assert 2 <= len(ticks) <= most + 1
    assert 0 <= ticks[0] <= ticks[-1] <= high * (1 + 1e-6)
    (step,) = {float(f"{after - before:.4g}") for before, after in itertools.pairwise(ticks)}
    assert f"{step:e}"[0] in "125"
