"""The networks of disturbances: their pooling, their loss, and that padding does not change their outputs."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.diagnosis import FRAME_VALUES
from model.networks.architectures import (
    diagnosis_of,
    diagnostic_net,
    diagnostic_net_16ms,
    disturbance_net,
    masked_pesq_norm,
)
from model.networks.losses import frames_loss
from model.pooling import pesq_norm, pool
from tests.support.training.random_bundles import random_network

LENGTHS = [1, 7, 20, 21, 50, 57]


# Pooling and loss.


def padded_batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(seed).gamma(1.0, 1.0, (len(LENGTHS), max(LENGTHS))).astype(np.float32)
    return values, np.arange(max(LENGTHS))[None] < np.array(LENGTHS)[:, None]


@pytest.mark.parametrize("garbage", [0.0, 100.0])
def test_padding_does_not_change_the_norm(garbage: float) -> None:
    values, mask = padded_batch()
    norm = masked_pesq_norm(tf.constant(np.where(mask, values, garbage)), tf.constant(mask)).numpy()
    assert norm == pytest.approx([pesq_norm(row[:n]) for row, n in zip(values, LENGTHS, strict=True)], rel=1e-5)


def test_the_norm_has_a_finite_gradient_without_disturbance() -> None:
    values, mask = padded_batch()
    values[0], values[3, :10] = 0.0, 0.0
    variable = tf.Variable(values)
    with tf.GradientTape() as tape:
        norm = tf.reduce_sum(masked_pesq_norm(variable, tf.constant(mask)))
    gradient = tape.gradient(norm, variable).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[~mask].any()


def test_the_frames_loss_equals_its_transcription() -> None:
    rng = np.random.default_rng(0)
    _, mask = padded_batch()
    label, score = rng.uniform(1, 4.6, (2, len(LENGTHS))).astype(np.float32)
    frame_label, frames = rng.uniform(1, 4.6, (2, *mask.shape)).astype(np.float32)
    expected = 0.0
    for b, length in enumerate(LENGTHS):
        expected += (label[b] - score[b]) ** 2
        expected += sum((frame_label[b, t] - frames[b, t]) ** 2 for t in range(length)) / length
    loss = frames_loss(label, frame_label, score, frames, tf.constant(mask))
    assert float(loss) == pytest.approx(expected / len(LENGTHS), rel=1e-5)


def test_values_in_the_padding_do_not_change_the_frames_loss() -> None:
    _, mask = padded_batch()
    ones = np.ones(mask.shape, np.float32)
    label = np.full(len(LENGTHS), 2.0, np.float32)
    assert float(frames_loss(label, ones, label, np.where(mask, 1.0, 1e3).astype(np.float32), tf.constant(mask))) == 0.0


# The network.


@pytest.fixture(scope="module", params=["disturbance_net", "diagnostic_net", "diagnostic_net_16ms"])
def network(request: pytest.FixtureRequest) -> keras.Model:
    return random_network(request.param)


def run(network: keras.Model, spectrograms: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    output = network({"spectrogram": spectrograms, "mask": mask})
    return output["frame_score"].numpy(), output["score"].numpy()


def test_the_score_is_pooled_from_the_frame_scores_by_the_norms_of_pesq(network: keras.Model) -> None:
    _, mask = padded_batch()
    spectrograms = np.random.default_rng(1).normal(-2, 1, (*mask.shape, 257)).astype(np.float32)
    frames, scores = run(network, spectrograms, mask)
    pooled = [pool(row[:n], "pesq") for row, n in zip(frames, LENGTHS, strict=True)]
    assert scores == pytest.approx(pooled, abs=1e-3)
    assert np.ptp(scores) > 1e-3


@pytest.mark.parametrize("garbage", [0.0, -7.0, 50.0])
def test_padding_does_not_change_a_score(network: keras.Model, garbage: float) -> None:
    _, mask = padded_batch()
    spectrograms = np.random.default_rng(1).normal(-2, 1, (*mask.shape, 257)).astype(np.float32)
    frames, scores = run(network, np.where(mask[..., None], spectrograms, np.float32(garbage)), mask)
    for row, length in enumerate(LENGTHS):
        alone, score = run(network, spectrograms[row : row + 1, :length], mask[row : row + 1, :length])
        assert frames[row, :length] == pytest.approx(alone[0], abs=1e-5)
        assert scores[row] == pytest.approx(score[0], abs=1e-5)


def test_the_frame_scores_lie_on_the_scale(network: keras.Model) -> None:
    loud = np.random.default_rng(1).normal(0, 30, (2, 40, 257)).astype(np.float32)
    frames, scores = run(network, loud, np.ones((2, 40), bool))
    for values in (frames, scores):
        assert (values > 0.99).all()
        assert (values < 4.65).all()


@pytest.mark.parametrize("make", [disturbance_net, diagnostic_net, diagnostic_net_16ms])
def test_the_network_is_small(make: Callable[[], keras.Model]) -> None:
    assert make().count_params() < 500_000


# The diagnosis.


@pytest.fixture(scope="module", params=["diagnostic_net", "diagnostic_net_16ms"])
def diagnostic(request: pytest.FixtureRequest) -> keras.Model:
    return random_network(request.param)


@pytest.mark.parametrize("lengths", [[1, 2, 7, 20, 57], [3, 31, 58]])
def test_padding_does_not_change_a_diagnosis(diagnostic: keras.Model, lengths: list[int]) -> None:
    """Odd and even lengths have different last steps."""
    mask = np.arange(max(lengths)) < np.array(lengths)[:, np.newaxis]
    spectrograms = np.random.default_rng(1).normal(-2, 1, (*mask.shape, 257)).astype(np.float32)
    padded = np.where(mask[..., np.newaxis], spectrograms, np.float32(50))
    together = diagnostic({"spectrogram": padded, "mask": mask})["diagnosis"].numpy()
    for row, length in enumerate(lengths):
        inputs = {"spectrogram": padded[row : row + 1, :length], "mask": mask[row : row + 1, :length]}
        np.testing.assert_allclose(together[row, :length], diagnostic(inputs)["diagnosis"][0], atol=1e-4)


def test_the_values_of_a_diagnosis_lie_on_their_scales(diagnostic: keras.Model) -> None:
    loud = np.random.default_rng(1).normal(0, 30, (2, 41, 257)).astype(np.float32)
    values = diagnostic({"spectrogram": loud, "mask": np.ones((2, 41), bool)})["diagnosis"].numpy()
    assert values.shape == (2, 41, len(FRAME_VALUES))
    probabilities, ratings = values[..., :10], values[..., -3:]
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert ((ratings >= 1) & (ratings <= 5)).all()


def test_both_frames_of_a_step_have_values_of_their_own(diagnostic: keras.Model) -> None:
    spectrograms = np.random.default_rng(2).normal(-2, 1, (1, 30, 257)).astype(np.float32)
    values = diagnostic({"spectrogram": spectrograms, "mask": np.ones((1, 30), bool)})["diagnosis"].numpy()[0]
    assert (np.abs(values[::2] - values[1::2]).max(axis=0) > 1e-4).all()


def test_a_diagnosis_starts_in_the_middle_of_its_scales() -> None:
    values = diagnosis_of(tf.zeros((1, 1, len(FRAME_VALUES)))).numpy()[0, 0]
    assert values.tolist() == [0.5] * 10 + [20.0, 20.0] + [3.0] * 3
