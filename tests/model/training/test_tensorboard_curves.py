"""Learning curves in the event file of TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from model.training.tensorboard_curves import FILE, write_curves


def epoch(number: int, **values: float | None) -> dict[str, Any]:
    return {"epoch": number, "ended_unix_s": 1e9 + number, "loss": 2.0 / number, "lcc": 0.1 * number} | {
        "srcc": 0.2,
        "rmse": 0.5,
        **values,
    }


def read(folder: Path) -> list[tuple[int, str, float]]:
    return [
        (event.step, value.tag, value.simple_value)
        for event in tf.compat.v1.train.summary_iterator(str(folder / FILE))
        for value in event.summary.value
    ]


def test_each_epoch_has_a_point_on_each_curve(tmp_path: Path) -> None:
    write_curves(tmp_path / "curves", [epoch(1), epoch(2)])
    points = read(tmp_path / "curves")
    assert [(step, tag) for step, tag, _ in points] == [
        (step, tag) for step in (1, 2) for tag in ("loss", "lcc", "srcc", "rmse")
    ]
    assert {value for step, tag, value in points if tag == "loss"} == {2.0, 1.0}


def test_the_measures_of_a_diagnosis_have_curves_too(tmp_path: Path) -> None:
    write_curves(tmp_path, [epoch(1, speech_auc=0.75)])
    assert (1, "speech_auc", 0.75) in read(tmp_path)


def test_an_undefined_correlation_has_no_point(tmp_path: Path) -> None:
    write_curves(tmp_path, [epoch(1, lcc=None, srcc=None)])
    assert [tag for _, tag, _ in read(tmp_path)] == ["loss", "rmse"]


def test_a_longer_history_begins_with_the_same_bytes(tmp_path: Path) -> None:
    write_curves(tmp_path, [epoch(1)])
    before = (tmp_path / FILE).read_bytes()
    write_curves(tmp_path, [epoch(1), epoch(2)])
    assert (tmp_path / FILE).read_bytes().startswith(before)


def test_the_file_starts_with_the_version_of_the_format(tmp_path: Path) -> None:
    write_curves(tmp_path, [])
    (event,) = tf.compat.v1.train.summary_iterator(str(tmp_path / FILE))
    assert event.file_version == "brain.Event:2"
    assert event.wall_time == pytest.approx(0.0)
