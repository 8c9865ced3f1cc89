"""The initial weights of all networks."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest

from model.networks.architectures import NETWORKS
from model.networks.initial_weights import draw_weights


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
