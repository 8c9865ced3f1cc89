"""Training with the label of each frame: batches, the mean of the weights, early end and start from another model."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from model.bundle import open_bundle
from model.features import FeatureConfig, num_frames, spectrogram
from model.high_pass import without_dc
from model.inference.scorer import Scorer
from model.labels import PESQ_WB
from model.pooling import true_frame_scores
from model.training.dataset import DatasetError, TrainingSet, open_set
from model.training.trainer import CHECKPOINTS, HISTORY, TrainingError, TrainOptions, train

OPTIONS = TrainOptions(
    name="own", network="disturbance_net", loss="frames", epochs=3, batch_size=4, clip_norm=1.0, average=0.9
)


def clip(number: int) -> dict[str, Any]:
    """Makes a clip of a tone with noise in its second half. Higher numbers have less noise and a better label."""
    rng = np.random.default_rng(number)
    num_samples = 15_000 + 200 * number
    samples = 0.1 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / 16_000)
    samples[num_samples // 2 :] += rng.normal(0, 0.1 / (number + 1), num_samples - num_samples // 2)
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), 16_000, format="FLAC", subtype="PCM_16")
    frames = num_frames(num_samples)
    disturbance = np.where(np.arange(frames) < frames // 2, 0.5, 30.0 / (number + 1))
    return {
        "clip_id": f"clip-{number}",
        "audio": file.getvalue(),
        "pesq_wb": 1.1 + 0.25 * number,
        "disturbance": disturbance.tolist(),
        "asymmetric_disturbance": (disturbance * 0.8).tolist(),
        "split": "val" if number % 3 == 2 else "train",
    }


CLIPS = [clip(number) for number in range(12)]


def write(path: Path, clips: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(clips), path, row_group_size=3)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return open_set([write(tmp_path_factory.mktemp("set") / "a.parquet", CLIPS)], PESQ_WB, FeatureConfig(), frames=True)


def test_the_batches_hold_the_label_of_each_frame(data: TrainingSet) -> None:
    by_label = {np.float32(c["pesq_wb"]): c for c in CLIPS}
    for inputs, labels in data.batches("train", 4, seed=1):
        assert labels["frame_score"].shape == inputs["mask"].shape
        for mask, label, frames in zip(inputs["mask"].numpy(), labels["score"], labels["frame_score"], strict=True):
            c = by_label[np.float32(label)]
            expected = true_frame_scores(
                np.array(c["disturbance"]), np.array(c["asymmetric_disturbance"]), c["pesq_wb"]
            )
            assert frames.numpy()[mask] == pytest.approx(expected, abs=1e-6)


def test_the_error_names_a_missing_column_of_disturbances(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [{k: v for k, v in c.items() if k != "disturbance"} for c in CLIPS])
    with pytest.raises(DatasetError, match="disturbance"):
        open_set([file], PESQ_WB, FeatureConfig(), frames=True)


def test_clips_without_disturbances_are_left_out(tmp_path: Path) -> None:
    clips = [{**CLIPS[0], "disturbance": None, "asymmetric_disturbance": None}, *CLIPS[1:]]
    training_set = TrainingSet((write(tmp_path / "a.parquet", clips),), PESQ_WB, FeatureConfig(), frames=True)
    assert sum(len(labels["score"]) for _, labels in training_set.batches("train", 2)) == 7


def history(output: Path) -> list[dict[str, Any]]:
    epochs = json.loads((output / CHECKPOINTS / HISTORY).read_text())["epochs"]
    return [{key: facts[key] for key in ("epoch", "loss", "lcc", "srcc", "rmse")} for facts in epochs]


@pytest.mark.slow
def test_a_resumed_run_has_the_curve_of_an_uninterrupted_one(data: TrainingSet, tmp_path: Path) -> None:
    """This includes the dropout and the mean of the weights."""
    train(data, tmp_path / "whole", OPTIONS)
    train(data, tmp_path / "part", dataclasses.replace(OPTIONS, epochs=1))
    shutil.copytree(tmp_path / "part", tmp_path / "resumed")
    train(data, tmp_path / "resumed", OPTIONS, resume=True)
    whole, resumed = history(tmp_path / "whole"), history(tmp_path / "resumed")
    assert len(resumed) == 3
    for resumed_epoch, whole_epoch in zip(resumed, whole, strict=True):
        assert resumed_epoch == pytest.approx(whole_epoch, abs=1e-4)
    assert whole[-1]["loss"] < whole[0]["loss"]


@pytest.mark.slow
def test_the_bundle_holds_the_mean_of_the_weights(data: TrainingSet, tmp_path: Path) -> None:
    train(data, tmp_path, dataclasses.replace(OPTIONS, epochs=2))
    scorer = Scorer(open_bundle(tmp_path))
    features = [
        spectrogram(without_dc(soundfile.read(io.BytesIO(c["audio"]), dtype="float32")[0]), FeatureConfig())
        for c in CLIPS
        if c["split"] == "val"
    ]
    scores = np.array([scorer.pool(estimates.score) for estimates in scorer.score(features)])
    labels = np.array([c["pesq_wb"] for c in CLIPS if c["split"] == "val"])
    best = max(history(tmp_path), key=lambda facts: facts["lcc"])
    assert float(np.sqrt(np.mean((scores - labels) ** 2))) == pytest.approx(best["rmse"], abs=1e-3)


@pytest.mark.slow
def test_training_ends_without_improvement(data: TrainingSet, tmp_path: Path) -> None:
    # From the second epoch on, the learning rate is too large to learn anything.
    options = dataclasses.replace(OPTIONS, epochs=9, decay=30.0, average=0.0, patience=2)
    train(data, tmp_path, options)
    epochs = history(tmp_path)
    best = max(epochs, key=lambda facts: -1 if facts["lcc"] is None else facts["lcc"])
    assert len(epochs) == best["epoch"] + 2 < 9


@pytest.mark.slow
def test_training_can_start_from_the_weights_of_another_model(data: TrainingSet, tmp_path: Path) -> None:
    first = train(data, tmp_path / "first", dataclasses.replace(OPTIONS, epochs=2))
    # With a tiny learning rate, the weights remain those of the start.
    options = dataclasses.replace(OPTIONS, epochs=1, learning_rate=1e-9, average=0.0, start=first.model_id)
    second = train(data, tmp_path / "second", options, start=first)
    features = [spectrogram(np.random.default_rng(0).standard_normal(9_000), FeatureConfig())]
    second_scores, first_scores = (Scorer(bundle).score(features)[0].score for bundle in (second, first))
    assert second_scores == pytest.approx(first_scores, abs=1e-3)
    assert second.training["options"]["start"] == first.model_id


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"network": "l_1dcnn"}, {"features": FeatureConfig(window="hamming")}])
def test_training_cannot_start_from_another_kind_of_model(
    data: TrainingSet, tmp_path: Path, changes: dict[str, Any]
) -> None:
    first = train(data, tmp_path / "first", dataclasses.replace(OPTIONS, epochs=1))
    options = dataclasses.replace(OPTIONS, **{k: v for k, v in changes.items() if k == "network"})
    other = dataclasses.replace(data, **{k: v for k, v in changes.items() if k == "features"})
    with pytest.raises(TrainingError, match="cannot start from own@"):
        train(other, tmp_path / "second", options, start=first)
