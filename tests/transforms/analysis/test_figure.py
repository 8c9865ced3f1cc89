"""Figures of recordings of any length show their spectrogram, scores and anomalies."""

from __future__ import annotations

import dataclasses
import io
import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from model.diagnosis import HEARD_CAUSES, NO_CAUSE
from model.evaluation.figures import spectrum_db
from model.features import SAMPLE_RATE, num_frames
from model.high_pass import without_dc
from model.labels import PESQ_WB
from transforms.analysis import figure, spectrogram_image
from transforms.analysis.cause_lane import column_causes
from transforms.analysis.figure import FigureData, draw, one_line, save
from transforms.analysis.spectrogram_image import column_edges, reduced_db
from transforms.audio.waveform import Waveform


def waveform_of(samples: np.ndarray) -> Waveform:
    waveform = Waveform()
    waveform.add(samples.astype(np.float32))
    waveform.end()
    return waveform


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """Three seconds of noise, 40 dB lower in the last second."""
    samples = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    samples[2 * SAMPLE_RATE :] /= 100
    return samples


@pytest.fixture(scope="module")
def data(noise: np.ndarray) -> FigureData:
    frame_score = np.full(num_frames(len(noise)), 4.0, np.float32)
    return FigureData("a", reduced_db(waveform_of(noise)), 3.0, frame_score, [(1.0, 2.0)], PESQ_WB)


@given(st.integers(1, 100_000), st.integers(1, 2_000))
def test_columns_share_all_frames_almost_equally(count, columns):
    edges = column_edges(count, columns)
    sizes = np.diff(edges)
    assert (edges[0], edges[-1], len(sizes)) == (0, count, min(count, columns))
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1


def test_a_column_is_the_mean_power_of_its_frames(noise):
    whole = spectrum_db(without_dc(noise))
    assert reduced_db(waveform_of(noise), len(whole)) == pytest.approx(whole, abs=1e-3)
    for columns in (1, 7, 50):
        edges = column_edges(len(whole), columns)
        power = [np.mean(10 ** (whole[a:b] / 10), axis=0) for a, b in itertools.pairwise(edges)]
        assert reduced_db(waveform_of(noise), columns) == pytest.approx(10 * np.log10(power), abs=1e-3)


def test_the_block_size_does_not_change_the_spectrogram(noise, monkeypatch):
    expected = reduced_db(waveform_of(noise), 40)
    for frames in (1, 9, 50):
        monkeypatch.setattr(spectrogram_image, "BLOCK_FRAMES", frames)
        assert reduced_db(waveform_of(noise), 40) == pytest.approx(expected, abs=1e-9)


def test_digital_silence_can_be_drawn():
    assert np.isfinite(reduced_db(waveform_of(np.zeros(SAMPLE_RATE)))).all()


def test_the_axes_are_seconds_kilohertz_and_the_scale(data):
    figure = draw(data)
    above, below = figure.axes[:2]
    assert below.get_xlim() == (0.0, 3.0)
    assert above.get_ylim() == (0.0, 8.0)
    low, high = below.get_ylim()
    assert low < PESQ_WB.low < PESQ_WB.high < high < PESQ_WB.high + 0.2
    time, score = below.lines[0].get_data()
    assert time[0] == pytest.approx(0.016)
    assert time[1] - time[0] == pytest.approx(0.016)
    assert score == pytest.approx(np.full(len(data.frame_score), 4.0))
    assert (above.get_ylabel(), below.get_ylabel()) == ("frequency\n(kHz)", "frame score\n(PESQ)")
    assert below.get_xlabel() == "time (s)"
    (shade,) = [c.get_paths()[0].get_extents() for c in below.collections]
    assert (shade.x0, shade.x1) == (1.0, 2.0)


def test_causes_are_a_lane_below_the_curve(data):
    causes = np.full(len(data.frame_score), NO_CAUSE, np.int8)
    assert "cause" not in [axes.get_ylabel() for axes in draw(dataclasses.replace(data, frame_causes=causes)).axes]
    causes[50:80] = HEARD_CAUSES.index("music")
    causes[80:90] = HEARD_CAUSES.index("second_voice")
    figure = draw(dataclasses.replace(data, frame_causes=causes))
    above, _, lane = figure.axes[:3]
    assert np.array_equal(lane.images[0].get_array().filled(NO_CAUSE)[0], causes)
    assert lane.images[0].get_extent()[:2] == above.images[0].get_extent()[:2]
    assert legend_of(figure) == ["frame score", "anomaly", "music", "second voice"]


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_the_score_and_the_threshold_are_lines(data):
    figure = draw(dataclasses.replace(data, score=3.456, threshold=2.5))
    below = figure.axes[1]
    assert [line.get_ydata()[0] for line in below.lines[1:]] == [3.456, 2.5]
    assert legend_of(figure) == [
        "frame score",
        "score of the recording: 3.46",
        "threshold of anomalies: 2.50",
        "anomaly",
    ]


def test_the_colour_bar_shows_the_level_below_the_loudest_point(data):
    (image,) = draw(data).axes[0].images
    assert image.get_array().max() == 0
    assert image.get_clim() == (-80, 0)
    assert image.colorbar.ax.get_ylabel() == "level (dB)"


@pytest.mark.parametrize("width", [3.7, 9, 10])
def test_nothing_is_cut_off(data, width):
    causes = np.resize(np.arange(4, dtype=np.int8), len(data.frame_score))
    whole = dataclasses.replace(data, frame_causes=causes, score=3.4, threshold=2.5)
    figure = draw(whole, size=(width, 3.4))
    inner = figure.get_tightbbox().padded(-0.01)
    assert inner.x0 >= 0
    assert inner.y0 >= 0
    assert inner.x1 <= width
    assert inner.y1 <= 3.4


@given(st.lists(st.sampled_from([NO_CAUSE, 0, 8]), min_size=1, max_size=60), st.integers(1, 20))
def test_a_column_has_the_most_frequent_cause_of_its_frames(causes, columns):
    edges = column_edges(len(causes), columns)
    for column, (first, end) in zip(
        column_causes(np.array(causes, np.int8), edges), itertools.pairwise(edges), strict=True
    ):
        inside = causes[first:end]
        assert inside.count(column) == max(map(inside.count, inside))


def test_a_long_recording_is_drawn_as_ranges_of_columns(data):
    frame_score = np.tile([1.0, 4.0], 100_000).astype(np.float32)
    figure = draw(dataclasses.replace(data, frame_score=frame_score, duration_s=3200.0, anomalies=[]))
    below = figure.axes[1]
    assert below.lines[0].get_ydata() == pytest.approx(np.full(spectrogram_image.COLUMNS, 2.5))
    band = below.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (1.0, 4.0)


def test_a_recording_without_audio_is_drawn_with_its_scores(data):
    figure = draw(dataclasses.replace(data, level_db=None))
    assert [text.get_text() for text in figure.axes[0].texts] == ["the audio cannot be read"]
    assert len(figure.axes[1].lines) == 1


def test_one_frame_is_enough():
    noise = np.random.default_rng(0).normal(0, 0.1, 512)
    one = FigureData("", reduced_db(waveform_of(noise)), 0.032, np.array([3.0], np.float32), [], PESQ_WB)
    file = io.BytesIO()
    save(draw(one), file, "png")
    assert file.getvalue().startswith(b"\x89PNG")


def test_a_title_is_not_parsed_as_a_formula_and_equal_figures_are_equal_files(data):
    for kind in ("png", "svg"):
        files = []
        for _ in range(2):
            file = io.BytesIO()
            save(draw(dataclasses.replace(data, title=r"a $\frac{ <b> & \x")), file, kind)
            files.append(file.getvalue())
        assert files[0] == files[1]
    assert ET.fromstring(files[0]).tag.endswith("svg")


@given(st.text(max_size=300))
def test_a_title_is_one_line(name):
    line = one_line(name)
    assert line.isprintable()
    assert len(line) <= figure.MAX_TITLE_LETTERS + 1
