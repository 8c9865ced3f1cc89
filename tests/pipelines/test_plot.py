"""`audiosieve plot`: figures of stored and of new scores."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.command import Output, audiosieve, audiosieve_process
from tests.support.figures.fonts import make_font
from tests.support.outputs import scored, write_output
from transforms.analysis.title_fonts import choose_fonts

pytestmark = pytest.mark.slow


def test_stored_and_new_scores_give_the_same_figure(sample_run: Output, samples: Path, tmp_path: Path) -> None:
    spot, run, by_path = (tmp_path / name for name in ("spot.png", "run.png", "by_path.png"))
    said = audiosieve("plot", samples / "burst.flac", "-o", spot).stdout
    again = audiosieve("plot", "burst.flac", "--run", sample_run.root, "-o", run).stdout
    audiosieve("plot", samples / "burst.flac", "--run", sample_run.root, "--output", by_path)
    score = sample_run.scores["burst.flac"]
    for text in (said, again):
        assert text.startswith(f"burst.flac: score {score:.2f} on a scale of 1 to 4.64")
        assert "1 anomaly;" in text
    pictures = [
        np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("L"), float) for path in (spot, run, by_path)
    ]
    assert pictures[0].shape == pictures[1].shape
    # Scores may differ in the last digit of a float32, and so may the shade of an edge.
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.1
    assert run.read_bytes() == by_path.read_bytes()


def test_a_model_and_a_channel_can_be_selected(samples: Path, tmp_path: Path) -> None:
    said = audiosieve(
        "plot", samples / "stereo_48k.flac", "-o", tmp_path / "a.svg", "--model", "quality_net_v1", "--channels", 1
    ).stdout
    assert "quality_net_v1@" in said
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_a_deleted_recording_is_drawn_without_its_spectrogram(tmp_path: Path) -> None:
    root = write_output(tmp_path / "out", [scored("a.wav", 3.0, uri=str(tmp_path / "gone.wav"))])
    done = audiosieve("plot", "a.wav", "--run", root, "-o", tmp_path / "a.png")
    assert "gone.wav" in done.stderr
    assert "only the scores are drawn" in done.stderr
    assert Image.open(tmp_path / "a.png").size == (1200, 552)


def test_a_name_in_another_script_is_drawn_and_missing_letters_have_one_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "日本語 हिन्दी تسجيل.wav"
    root = write_output(tmp_path / "out", [scored(name, 3.0, uri=str(tmp_path / "gone.wav"))])
    stderr = audiosieve("plot", name, "--run", root, "-o", tmp_path / "a.png").stderr
    hint = choose_fonts(name).hint  # depends on the fonts of this machine
    assert "Glyph" not in stderr
    assert stderr.count("no font of this machine has") == bool(hint)
    assert hint in stderr
    folder = tmp_path / "data" / "fonts"
    folder.mkdir(parents=True)
    make_font(folder / "all.ttf", "All Letters", "日本語हिन्दी")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    done = audiosieve_process("plot", name, "--run", root, "-o", tmp_path / "b.png")
    assert "no font" not in done.stderr
    assert (tmp_path / "b.png").read_bytes() != (tmp_path / "a.png").read_bytes()


def test_usage_errors_are_reported_and_nothing_is_written(sample_run: Output, samples: Path, tmp_path: Path) -> None:
    figure, there = tmp_path / "a.png", tmp_path / "there.png"
    there.write_text("mine")
    archive = tmp_path / "set.parquet"
    pq.write_table(pa.table({"audio": [{"bytes": b"", "path": "x.wav"}]}), archive)
    clean = samples / "clean.flac"
    for arguments, message in (
        (["brst.flac", "--run", sample_run.root, "-o", figure], "(did you mean 'burst.flac'?)"),
        (["corrupt.flac", "--run", sample_run.root, "-o", figure], "was rejected in"),
        ([samples / "corrupt.flac", "-o", figure], "corrupt: after 0 of 65040 samples"),
        ([tmp_path / "none.wav", "-o", figure], "No such file"),
        ([archive, "-o", figure], "is an archive (parquet) of recordings"),
        ([clean, "-o", tmp_path / "a.jpg"], "its name must end in .png or .svg"),
        ([clean, "-o", there], "already exists"),
        ([clean, "-o", figure, "--model", "no_such"], "no_such"),
        ([clean, "-o", figure, "--channels", "each"], "draw the channels one by one"),
        ([clean, "-o", figure, "--channels", 1], "channel 1 (counted from 0) does not exist"),
        (
            ["clean.flac", "--run", sample_run.root, "--model", "quality_net_v1", "-o", figure],
            "--run draws the scores of a run",
        ),
        (["clean.flac", "--run", tmp_path, "-o", figure], "contains no completed run"),
    ):
        assert message in audiosieve("plot", *arguments, status=2).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.parquet", "there.png"]
    assert there.read_text() == "mine"
