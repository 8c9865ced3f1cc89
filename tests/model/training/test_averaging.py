"""The running mean of the weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from model.training.averaging import WARM_UP, WeightAverage


def small_network() -> keras.Model:
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    network.layers[0].kernel.assign([[0.0]])
    return network


def kernel(network: keras.Model) -> float:
    return float(network.layers[0].kernel.numpy()[0, 0])


def train_steps(network: keras.Model, average: WeightAverage, values: list[float]) -> None:
    for step, value in enumerate(values):
        network.layers[0].kernel.assign([[value]])
        average.on_train_batch_end(step)


def test_the_mean_follows_its_definition() -> None:
    network = small_network()
    average = WeightAverage(network, 0.5)
    values = [4.0, 2.0, -1.0, 3.0] * 5
    mean = 0.0
    for step, value in enumerate(values):
        share = min(0.5, step / (step + WARM_UP))
        mean = share * mean + (1 - share) * value
    train_steps(network, average, values)
    with average.applied():
        assert kernel(network) == pytest.approx(mean, rel=1e-6)


def test_the_network_gets_its_own_weights_back_even_after_an_error() -> None:
    network = small_network()
    average = WeightAverage(network, 0.9)
    train_steps(network, average, [1.0, 2.0, 3.0])

    def fail() -> None:
        with average.applied():
            assert kernel(network) != 3.0
            raise ValueError("within the block")

    with pytest.raises(ValueError, match="within the block"):
        fail()
    assert kernel(network) == 3.0


def test_the_initial_weights_are_not_in_the_mean() -> None:
    network = small_network()
    network.layers[0].kernel.assign([[1e6]])
    average = WeightAverage(network, 0.999)
    train_steps(network, average, [1.0] * 5)
    with average.applied():
        assert kernel(network) == pytest.approx(1.0)


def test_a_share_of_0_keeps_the_last_weights() -> None:
    network = small_network()
    average = WeightAverage(network, 0.0)
    train_steps(network, average, [1.0, 5.0])
    with average.applied():
        assert kernel(network) == 5.0


def test_the_mean_of_noisy_steps_is_close_to_their_centre() -> None:
    network = small_network()
    average = WeightAverage(network, 0.99)
    steps = np.random.default_rng(0).normal(2.0, 1.0, 1_000)
    train_steps(network, average, steps.tolist())
    with average.applied():
        assert abs(kernel(network) - 2.0) < 0.3
