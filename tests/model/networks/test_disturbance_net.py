"""Our own network: its pooling, its loss and its training with the truth of frames."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import tensorflow as tf

from model.bundle import open_bundle
from model.features import FeatureConfig, num_frames, spectrogram
from model.inference.scorer import Scorer
from model.labels import PESQ_WB
from model.networks.architectures import disturbance_net, masked_pesq_norm
from model.networks.losses import frames_loss
from model.pooling import frame_truth, pesq_norm, pool
from model.training.dataset import DatasetError, TrainingSet, open_set
from model.training.trainer import CHECKPOINTS, HISTORY, TrainingError, TrainOptions, train
from tests.support.random_bundles import random_network

OPTIONS = TrainOptions(
    name="own", network="disturbance_net", loss="frames", epochs=3, batch_size=4, clip_norm=1.0, average=0.9
)
LENGTHS = [1, 7, 20, 21, 50, 57]


def clip(number: int) -> dict[str, Any]:
    """A tone with noise in its second half, the fainter the better its label."""
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


# Pooling and loss.


def padded(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(seed).gamma(1.0, 1.0, (len(LENGTHS), max(LENGTHS))).astype(np.float32)
    return values, np.arange(max(LENGTHS))[None] < np.array(LENGTHS)[:, None]


@pytest.mark.parametrize("garbage", [0.0, 100.0])
def test_the_norm_of_a_padded_batch_is_that_of_each_recording_alone(garbage: float) -> None:
    values, mask = padded()
    found = masked_pesq_norm(tf.constant(np.where(mask, values, garbage)), tf.constant(mask)).numpy()
    assert found == pytest.approx([pesq_norm(row[:n]) for row, n in zip(values, LENGTHS, strict=True)], rel=1e-5)


def test_the_norm_has_a_finite_gradient_even_where_nothing_is_disturbed() -> None:
    values, mask = padded()
    values[0], values[3, :10] = 0.0, 0.0
    variable = tf.Variable(values)
    with tf.GradientTape() as tape:
        norm = tf.reduce_sum(masked_pesq_norm(variable, tf.constant(mask)))
    gradient = tape.gradient(norm, variable).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[~mask].any()


def test_the_frames_loss_equals_its_transcription() -> None:
    rng = np.random.default_rng(0)
    _, mask = padded()
    label, score = rng.uniform(1, 4.6, (2, len(LENGTHS))).astype(np.float32)
    truth, frames = rng.uniform(1, 4.6, (2, *mask.shape)).astype(np.float32)
    expected = 0.0
    for b, length in enumerate(LENGTHS):
        expected += (label[b] - score[b]) ** 2
        expected += sum((truth[b, t] - frames[b, t]) ** 2 for t in range(length)) / length
    found = frames_loss(label, truth, score, frames, tf.constant(mask))
    assert float(found) == pytest.approx(expected / len(LENGTHS), rel=1e-5)


def test_the_frames_loss_does_not_hear_the_padding() -> None:
    _, mask = padded()
    ones = np.ones(mask.shape, np.float32)
    label = np.full(len(LENGTHS), 2.0, np.float32)
    assert float(frames_loss(label, ones, label, np.where(mask, 1.0, 1e3).astype(np.float32), tf.constant(mask))) == 0.0


# The network.


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return random_network("disturbance_net")


def run(network: keras.Model, spectrograms: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    output = network({"spectrogram": spectrograms, "mask": mask})
    return output["frame_score"].numpy(), output["score"].numpy()


def test_its_score_is_that_of_its_frames_by_the_law_of_pesq(network: keras.Model) -> None:
    _, mask = padded()
    spectrograms = np.random.default_rng(1).normal(-2, 1, (*mask.shape, 257)).astype(np.float32)
    frames, scores = run(network, spectrograms, mask)
    pooled = [pool(row[:n], "pesq") for row, n in zip(frames, LENGTHS, strict=True)]
    assert scores == pytest.approx(pooled, abs=1e-3)
    assert np.ptp(scores) > 1e-3


@pytest.mark.parametrize("garbage", [0.0, -7.0, 50.0])
def test_padding_changes_none_of_its_scores(network: keras.Model, garbage: float) -> None:
    _, mask = padded()
    spectrograms = np.random.default_rng(1).normal(-2, 1, (*mask.shape, 257)).astype(np.float32)
    frames, scores = run(network, np.where(mask[..., None], spectrograms, np.float32(garbage)), mask)
    for row, length in enumerate(LENGTHS):
        alone, score = run(network, spectrograms[row : row + 1, :length], mask[row : row + 1, :length])
        assert frames[row, :length] == pytest.approx(alone[0], abs=1e-5)
        assert scores[row] == pytest.approx(score[0], abs=1e-5)


def test_its_frame_scores_lie_on_the_scale(network: keras.Model) -> None:
    loud = np.random.default_rng(1).normal(0, 30, (2, 40, 257)).astype(np.float32)
    frames, scores = run(network, loud, np.ones((2, 40), bool))
    for values in (frames, scores):
        assert (values > 0.99).all()
        assert (values < 4.65).all()


def test_it_is_small() -> None:
    assert disturbance_net().count_params() < 500_000


# Training.


def test_the_batches_hold_the_truth_of_each_frame(data: TrainingSet) -> None:
    by_label = {np.float32(c["pesq_wb"]): c for c in CLIPS}
    for inputs, truth in data.batches("train", 4, seed=1):
        assert truth["frame_score"].shape == inputs["mask"].shape
        for mask, label, frames in zip(inputs["mask"].numpy(), truth["score"], truth["frame_score"], strict=True):
            c = by_label[np.float32(label)]
            expected = frame_truth(np.array(c["disturbance"]), np.array(c["asymmetric_disturbance"]), c["pesq_wb"])
            assert frames.numpy()[mask] == pytest.approx(expected, abs=1e-6)


def test_a_set_without_the_truth_of_frames_is_refused_by_the_columns_name(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [{k: v for k, v in c.items() if k != "disturbance"} for c in CLIPS])
    found = TrainingSet((file,), PESQ_WB, FeatureConfig(), frames=True)
    with pytest.raises(DatasetError, match="disturbance"):
        list(found._clips("train", None))


def test_clips_without_the_truth_of_frames_are_left_out(tmp_path: Path) -> None:
    clips = [{**CLIPS[0], "disturbance": None, "asymmetric_disturbance": None}, *CLIPS[1:]]
    found = TrainingSet((write(tmp_path / "a.parquet", clips),), PESQ_WB, FeatureConfig(), frames=True)
    assert sum(len(truth["score"]) for _, truth in found.batches("train", 2)) == 7


def history(output: Path) -> list[dict[str, Any]]:
    epochs = json.loads((output / CHECKPOINTS / HISTORY).read_text())["epochs"]
    return [{key: facts[key] for key in ("epoch", "loss", "lcc", "srcc", "rmse")} for facts in epochs]


@pytest.mark.slow
def test_a_resumed_run_has_the_curve_of_one_without_a_break(data: TrainingSet, tmp_path: Path) -> None:
    """Dropout and the mean of the weights included."""
    train(data, tmp_path / "whole", OPTIONS)
    train(data, tmp_path / "part", dataclasses.replace(OPTIONS, epochs=1))
    shutil.copytree(tmp_path / "part", tmp_path / "resumed")
    train(data, tmp_path / "resumed", OPTIONS, resume=True)
    whole, resumed = history(tmp_path / "whole"), history(tmp_path / "resumed")
    assert len(resumed) == 3
    for ours, theirs in zip(resumed, whole, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    assert whole[-1]["loss"] < whole[0]["loss"]


@pytest.mark.slow
def test_the_bundle_holds_the_mean_of_the_weights_and_scores_by_the_law(data: TrainingSet, tmp_path: Path) -> None:
    train(data, tmp_path, dataclasses.replace(OPTIONS, epochs=2))
    scorer = Scorer(open_bundle(tmp_path))
    features = [
        spectrogram(soundfile.read(io.BytesIO(c["audio"]), dtype="float32")[0], FeatureConfig())
        for c in CLIPS
        if c["split"] == "val"
    ]
    scores = np.array([scorer.pool(frames) for frames in scorer.score(features)])
    labels = np.array([c["pesq_wb"] for c in CLIPS if c["split"] == "val"])
    best = max(history(tmp_path), key=lambda facts: facts["lcc"])
    assert float(np.sqrt(np.mean((scores - labels) ** 2))) == pytest.approx(best["rmse"], abs=1e-3)


@pytest.mark.slow
def test_training_ends_when_no_epoch_is_better_for_a_while(data: TrainingSet, tmp_path: Path) -> None:
    # Steps so large from the second epoch on that nothing is learnt any more.
    options = dataclasses.replace(OPTIONS, epochs=9, decay=30.0, average=0.0, patience=2)
    train(data, tmp_path, options)
    found = history(tmp_path)
    best = max(found, key=lambda facts: -1 if facts["lcc"] is None else facts["lcc"])
    assert len(found) == best["epoch"] + 2 < 9


@pytest.mark.slow
def test_training_can_start_from_another_models_weights(data: TrainingSet, tmp_path: Path) -> None:
    first = train(data, tmp_path / "first", dataclasses.replace(OPTIONS, epochs=2))
    # Steps too small to change anything show what it began with.
    options = dataclasses.replace(OPTIONS, epochs=1, learning_rate=1e-9, average=0.0, start=first.model_id)
    second = train(data, tmp_path / "second", options, start=first)
    features = [spectrogram(np.random.default_rng(0).standard_normal(9_000), FeatureConfig())]
    ours, theirs = (Scorer(bundle).score(features)[0] for bundle in (second, first))
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert second.training["options"]["start"] == first.model_id


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"network": "quality_net"}, {"features": FeatureConfig(window="hamming")}])
def test_training_cannot_start_from_another_kind_of_model(
    data: TrainingSet, tmp_path: Path, changes: dict[str, Any]
) -> None:
    first = train(data, tmp_path / "first", dataclasses.replace(OPTIONS, epochs=1))
    options = dataclasses.replace(OPTIONS, **{k: v for k, v in changes.items() if k == "network"})
    other = dataclasses.replace(data, **{k: v for k, v in changes.items() if k == "features"})
    with pytest.raises(TrainingError, match="cannot start from own@"):
        train(other, tmp_path / "second", options, start=first)
