"""Initial weights: from a seed alone, or from another network."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from model.networks.attention import AdditiveAttention


def draw_weights(network: keras.Model, seed: int) -> None:
    """Draws the initial weights of a network again, from a seed.

    Keras takes the seeds of its initialisers from Python's global generator, which other threads use, too, such as the clients
    of Google Cloud. So after `keras.utils.set_random_seed` alone, equal seeds did not always give equal weights.

    Args:
        network: one of `architectures.NETWORKS`.
        seed: seed, at least 0.
    """
    drawn = [pair for layer in network.layers for pair in _random_weights(layer)]
    seeds = np.random.SeedSequence(seed).generate_state(len(drawn)).tolist()
    for (weight, initializer), own_seed in zip(drawn, seeds, strict=True):
        seeded = type(initializer).from_config({**initializer.get_config(), "seed": own_seed})
        weight.assign(seeded(weight.shape, weight.dtype))


def copy_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Copies the weights of the layers that two networks share: those of the same name, with weights of the same shapes.

    Args:
        source: network that provides the weights.
        target: network that gets them.

    Returns:
        Names of the layers of `target` that keep their weights, in its order; layers without weights do not count.
    """
    given = {layer.name: layer.get_weights() for layer in source.layers}
    kept = []
    for layer in target.layers:
        own, weights = layer.get_weights(), given.get(layer.name, [])
        if [weight.shape for weight in own] == [weight.shape for weight in weights]:
            layer.set_weights(weights)
        elif own:
            kept.append(layer.name)
    return kept


def _random_weights(layer: keras.Layer) -> Iterator[tuple[keras.Variable, keras.initializers.Initializer]]:
    """Yields the weights of a layer that begin with random values, with their initialisers."""
    if isinstance(layer, keras.layers.Bidirectional):
        for direction in (layer.forward_layer, layer.backward_layer):
            yield direction.cell.kernel, direction.cell.kernel_initializer
            yield direction.cell.recurrent_kernel, direction.cell.recurrent_initializer
    elif isinstance(layer, AdditiveAttention):
        for weight in (layer.query, layer.key, layer.energy):
            yield weight, keras.initializers.GlorotUniform()
    elif hasattr(layer, "kernel_initializer"):
        yield layer.kernel, layer.kernel_initializer
