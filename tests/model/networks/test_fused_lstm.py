"""The LSTM in one operation against that of Keras."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.networks.fused_lstm import FusedLSTM, use_loop

LENGTHS, WIDTH, UNITS = (7, 4, 1), 5, 3
LONGEST = max(LENGTHS)
MASK = tf.sequence_mask(LENGTHS, LONGEST)


def pair(**options: bool) -> tuple[FusedLSTM, keras.layers.LSTM]:
    """Returns both kinds of LSTM, with the same random weights and biases."""
    fused, loop = (kind(UNITS, return_sequences=True, **options) for kind in (FusedLSTM, keras.layers.LSTM))
    generator = np.random.default_rng(1)
    for layer in (fused, loop):
        layer.build((None, None, WIDTH))
    weights = [generator.normal(size=weight.shape) for weight in loop.get_weights()]
    fused.set_weights(weights)
    loop.set_weights(weights)
    return fused, loop


def inputs() -> tf.Tensor:
    return tf.constant(np.random.default_rng(2).normal(size=(len(LENGTHS), LONGEST, WIDTH)), tf.float32)


def real_outputs(outputs: tf.Tensor, is_backward: bool) -> np.ndarray:
    mask = MASK[:, ::-1] if is_backward else MASK
    return tf.boolean_mask(outputs, mask).numpy()


@pytest.mark.parametrize("is_backward", [False, True])
def test_outputs_equal_those_of_keras_at_real_frames(is_backward: bool) -> None:
    fused, loop = pair(go_backwards=is_backward)
    found, expected = (layer(inputs(), mask=MASK) for layer in (fused, loop))
    assert found.shape == expected.shape
    np.testing.assert_allclose(real_outputs(found, is_backward), real_outputs(expected, is_backward), atol=1e-6)


@pytest.mark.parametrize("is_backward", [False, True])
@pytest.mark.parametrize("mask", [MASK, None], ids=["mask", "no mask"])
def test_the_last_state_equals_that_of_keras(is_backward: bool, mask: tf.Tensor | None) -> None:
    state = [tf.constant(np.random.default_rng(seed).normal(size=(len(LENGTHS), UNITS)), tf.float32) for seed in (3, 4)]
    fused, loop = pair(go_backwards=is_backward, return_state=True)
    found, expected = (layer(inputs(), mask=mask, initial_state=state) for layer in (fused, loop))
    for one, other in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("is_backward", [False, True])
def test_gradients_equal_those_of_keras(is_backward: bool) -> None:
    mask = MASK[:, ::-1] if is_backward else MASK
    gradients = []
    for layer in pair(go_backwards=is_backward):
        x = inputs()
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.boolean_mask(layer(x, mask=MASK), mask) ** 2)
        gradients.append(tape.gradient(loss, [x, *layer.trainable_variables]))
    for found, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_loop_gives_the_same_outputs_without_the_operation() -> None:
    x = keras.Input((None, WIDTH))
    mask = keras.Input((None,), dtype="bool")
    blstm = keras.layers.Bidirectional(FusedLSTM(UNITS, return_sequences=True), name="blstm")
    network = keras.Model([x, mask], blstm(x, mask=mask))

    def trace() -> tuple[set[str], np.ndarray]:
        run = tf.function(lambda: network([inputs(), MASK]))
        operations = {operation.type for operation in run.get_concrete_function().graph.get_operations()}
        return operations, tf.boolean_mask(run(), MASK).numpy()

    fused_operations, fused = trace()
    use_loop(network)
    loop_operations, loop = trace()
    assert "BlockLSTM" in fused_operations
    assert "BlockLSTM" not in loop_operations
    np.testing.assert_allclose(fused, loop, atol=1e-6)


@pytest.mark.parametrize("option", [{"activation": "relu"}, {"use_bias": False}, {"dropout": 0.1}])
def test_an_option_that_the_operation_lacks_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        FusedLSTM(UNITS, **option)
