"""Additive attention against its formula, written out with loops."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.networks.attention import AdditiveAttention

BATCH, LENGTH, WIDTH, UNITS = 3, 11, 6, 4
LENGTHS = (11, 7, 1)
MASK = np.arange(LENGTH) < np.array(LENGTHS)[:, np.newaxis]


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, (BATCH, LENGTH, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"query": (WIDTH, UNITS), "key": (WIDTH, UNITS), "hidden_bias": (UNITS,), "energy": (UNITS, 1)}
    shapes["energy_bias"] = (1,)
    return {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def layer_of(weights: dict[str, np.ndarray], **arguments: Any) -> AdditiveAttention:
    layer = AdditiveAttention(UNITS, **arguments)
    layer.build((None, None, WIDTH))
    for name, value in weights.items():
        getattr(layer, name).assign(value)
    return layer


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def naive(
    x: np.ndarray, mask: np.ndarray, weights: dict[str, np.ndarray], energy: Callable[[float], float] = sigmoid
) -> np.ndarray:
    """Computes y[t] for every t over all s that are not masked; NaN if all are masked."""
    y = np.full(x.shape, np.nan)
    for b in range(x.shape[0]):
        seen = [s for s in range(x.shape[1]) if mask[b, s]]
        for t in range(x.shape[1]):
            exponentials = []
            for s in seen:
                hidden = np.tanh(x[b, t] @ weights["query"] + x[b, s] @ weights["key"] + weights["hidden_bias"])
                raw = float(hidden @ weights["energy"][:, 0]) + float(weights["energy_bias"][0])
                exponentials.append(np.exp(energy(raw)))
            if seen:
                y[b, t] = sum(e * x[b, s] for e, s in zip(exponentials, seen, strict=True)) / sum(exponentials)
    return y


@pytest.mark.parametrize("mask", [MASK, np.ones_like(MASK)], ids=["ragged", "full"])
def test_attention_equals_a_loop_over_all_pairs_of_frames(inputs, weights, mask) -> None:
    attended = layer_of(weights)(inputs, mask=mask).numpy()
    assert attended == pytest.approx(naive(inputs, mask, weights), abs=1e-5)


def test_linear_energies_have_no_sigmoid(inputs, weights) -> None:
    attended = layer_of(weights, energy="linear")(inputs, mask=MASK).numpy()
    assert attended == pytest.approx(naive(inputs, MASK, weights, energy=lambda raw: raw), abs=1e-5)
    assert np.abs(attended - layer_of(weights)(inputs, mask=MASK).numpy())[MASK].max() > 0.01
    with pytest.raises(ValueError, match="energy is 'relu'"):
        AdditiveAttention(UNITS, energy="relu")


def test_the_mask_may_have_holes(inputs, weights) -> None:
    mask = MASK.copy()
    mask[0, 2:5] = False
    assert layer_of(weights)(inputs, mask=mask).numpy() == pytest.approx(naive(inputs, mask, weights), abs=1e-5)


def test_no_mask_means_that_all_frames_are_real(inputs, weights) -> None:
    layer = layer_of(weights)
    assert np.array_equal(layer(inputs), layer(inputs, mask=np.ones_like(MASK)))


def block_bytes_of(queries: int) -> int:
    return queries * BATCH * LENGTH * UNITS * 4


@pytest.mark.parametrize("block_bytes", [*map(block_bytes_of, (2, 3, 10)), block_bytes_of(5) + 4])
@pytest.mark.parametrize("training", [False, True])
def test_attention_in_blocks_equals_attention_at_once(inputs, weights, block_bytes: int, training: bool) -> None:
    in_blocks = layer_of(weights, block_bytes=block_bytes)(inputs, mask=MASK, training=training).numpy()
    assert in_blocks == pytest.approx(layer_of(weights)(inputs, mask=MASK).numpy(), abs=1e-5)


@pytest.mark.parametrize("row", range(BATCH))
def test_attention_of_single_queries_equals_attention_at_once(inputs, weights, row: int) -> None:
    alone, mask = inputs[row : row + 1], MASK[row : row + 1]
    one_by_one = layer_of(weights, block_bytes=1)(alone, mask=mask).numpy()
    assert one_by_one == pytest.approx(layer_of(weights)(alone, mask=mask).numpy(), abs=1e-5)


def test_attention_of_single_queries_does_not_crash() -> None:
    """TensorFlow 2.21 with oneDNN can crash here (tensorflow issue 117700), so another process runs it."""
    program = """
import numpy as np
from model.networks.attention import AdditiveAttention
inputs = np.random.default_rng(0).normal(size=(3, 11, 6)).astype(np.float32)
mask = np.arange(11) < np.array([[11], [7], [1]])
layer, tiny = AdditiveAttention(4), AdditiveAttention(4, block_bytes=1)
expected = layer(inputs, mask=mask).numpy()
tiny.build(inputs.shape)
tiny.set_weights(layer.get_weights())
for _ in range(30):
    assert np.allclose(tiny(inputs, mask=mask).numpy(), expected, atol=1e-5)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_memory_of_attention_over_a_long_input_is_bounded() -> None:
    """All pairs of 5,000 frames would take 3.2 GB. The peak memory of another process is measured."""
    program = """
import resource
import numpy as np
from model.networks.attention import AdditiveAttention
layer = AdditiveAttention(32)
rng = np.random.default_rng(0)
layer(rng.normal(size=(1, 100, 8)).astype(np.float32))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert layer(rng.normal(size=(1, 5000, 8)).astype(np.float32)).shape == (1, 5000, 8)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    # A block of 64 MiB before and after its tanh, and memory that the allocator keeps.
    assert float(done.stdout) < 600


def test_attention_in_blocks_has_the_gradients_of_attention_at_once(inputs, weights) -> None:
    gradients = []
    for block_bytes in (block_bytes_of(2), block_bytes_of(LENGTH)):
        layer = layer_of(weights, block_bytes=block_bytes)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs, mask=MASK) ** 2)
        gradients.append(tape.gradient(loss, layer.trainable_variables))
    for in_blocks, at_once in zip(*gradients, strict=True):
        assert in_blocks.numpy() == pytest.approx(at_once.numpy(), rel=1e-4, abs=1e-4)
    assert any(np.abs(gradient).max() > 0.1 for gradient in gradients[0])


@pytest.mark.parametrize("block_bytes", [block_bytes_of(2), 64 << 20], ids=["in blocks", "in one"])
def test_masked_frames_have_no_influence(inputs, weights, block_bytes: int) -> None:
    layer = layer_of(weights, block_bytes=block_bytes)
    garbage = np.where(MASK[..., np.newaxis], inputs, np.float32(1e4))
    clean, disturbed = layer(inputs, mask=MASK).numpy(), layer(garbage, mask=MASK).numpy()
    assert disturbed[MASK] == pytest.approx(clean[MASK], abs=1e-6)


def test_every_frame_has_influence_on_every_other(inputs, weights) -> None:
    layer = layer_of(weights)
    for s in (0, LENGTH - 1):
        other = inputs.copy()
        other[0, s] += 1
        moved = np.abs(layer(other, mask=MASK).numpy() - layer(inputs, mask=MASK).numpy()).max(axis=-1)
        assert (moved[0] > 1e-4).all()
        assert (moved[1:] == 0).all()


def test_a_row_that_is_all_padding_stays_finite(inputs, weights) -> None:
    mask = MASK.copy()
    mask[1] = False
    assert np.isfinite(layer_of(weights)(inputs, mask=mask).numpy()).all()


def test_a_single_real_frame_attends_to_itself_alone(inputs, weights) -> None:
    assert layer_of(weights)(inputs, mask=MASK).numpy()[2, 0] == pytest.approx(inputs[2, 0], abs=1e-6)


def test_lengths_unknown_when_traced_are_attended_exactly(inputs, weights) -> None:
    layer = layer_of(weights, block_bytes=block_bytes_of(3))
    signature = [tf.TensorSpec([None, None, WIDTH]), tf.TensorSpec([None, None], tf.bool)]
    traced = tf.function(lambda x, mask: layer(x, mask=mask), input_signature=signature)
    for length in (LENGTH, 2, 1):
        part, mask = inputs[:, :length], MASK[:, :length]
        assert traced(part, mask).numpy() == pytest.approx(naive(part, mask, weights), abs=1e-5)


def test_attention_over_250_features_has_16_065_parameters() -> None:
    layer = AdditiveAttention(32)
    layer.build((None, None, 250))
    assert layer.count_params() == 16_065


def test_attention_can_be_rebuilt_from_its_config(inputs, weights) -> None:
    layer = layer_of(weights, block_bytes=block_bytes_of(2), energy="linear")
    again = AdditiveAttention.from_config(layer.get_config())
    assert (again.units, again.block_bytes, again.name) == (layer.units, layer.block_bytes, layer.name)
    assert again.energy_function == "linear"
    restored = keras.layers.deserialize(keras.layers.serialize(layer))
    assert isinstance(restored, AdditiveAttention)
    restored.set_weights(layer.get_weights())
    assert np.array_equal(restored(inputs, mask=MASK), layer(inputs, mask=MASK))
