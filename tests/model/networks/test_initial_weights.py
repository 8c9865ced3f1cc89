"""The initial weights of all networks, and those that are copied from another network."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest

from model.networks.architectures import NETWORKS
from model.networks.initial_weights import copy_weights, draw_weights


def initial_weights(name: str, seed: int) -> list[np.ndarray]:
    network = NETWORKS[name]()
    draw_weights(network, seed)
    return [np.asarray(weight) for weight in network.get_weights()]


@pytest.mark.parametrize("name", NETWORKS)
def test_they_depend_on_the_seed_alone(name: str) -> None:
    keras.utils.set_random_seed(1)
    first = initial_weights(name, 5)
    random.random()  # as another thread may do
    again, other = initial_weights(name, 5), initial_weights(name, 6)
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert sum(not np.array_equal(*pair) for pair in zip(first, other, strict=True)) >= 6


@pytest.mark.parametrize("name", NETWORKS)
def test_they_have_the_spread_that_keras_gives_them(name: str) -> None:
    keras.utils.set_random_seed(1)
    by_keras = NETWORKS[name]().get_weights()
    for own, other in zip(initial_weights(name, 5), by_keras, strict=True):
        assert own.shape == other.shape
        if own.size > 1_000:
            assert own.std() == pytest.approx(other.std(), rel=0.15)


def test_layers_of_the_same_name_and_size_are_copied() -> None:
    source, target = NETWORKS["disturbance_net"](), NETWORKS["diagnostic_net_16ms"]()
    draw_weights(source, 1)
    draw_weights(target, 2)
    own = {layer.name: layer.get_weights() for layer in target.layers}
    assert copy_weights(source, target) == ["cause_dense", "raw_diagnosis"]
    for layer in target.layers:
        is_own = layer.name in ("cause_dense", "raw_diagnosis")
        expected = own[layer.name] if is_own else source.get_layer(layer.name).get_weights() if layer.weights else []
        assert all(np.array_equal(*pair) for pair in zip(layer.get_weights(), expected, strict=True))


def test_the_score_of_the_copy_is_that_of_its_source() -> None:
    source, target = NETWORKS["disturbance_net"](), NETWORKS["diagnostic_net_16ms"]()
    draw_weights(source, 1)
    copy_weights(source, target)
    inputs = {"spectrogram": np.random.default_rng(0).normal(-2, 1, (2, 30, 257)), "mask": np.ones((2, 30), bool)}
    assert np.array_equal(source(inputs)["score"], target(inputs)["score"])


def test_layers_of_another_size_are_not_copied() -> None:
    source, target = NETWORKS["diagnostic_net"](), NETWORKS["disturbance_net"]()
    assert copy_weights(source, target) == ["conv_1", "conv_2", "bottleneck", "blstm", "dense", "disturbance"]
