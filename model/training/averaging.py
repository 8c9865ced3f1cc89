"""A running mean of the weights during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

# The mean of the first steps is over a part of them, not over where training began.
WARM_UP = 9.0


class WeightAverage(keras.callbacks.Callback):
    """A running mean of a network's weights over the steps of its training (Polyak and Juditsky, 1992).

    It errs less than any one step's weights, which are still on their way.

    Args:
        network: whose weights.
        share: of the past in the mean, under 1; 0 keeps no mean, and changes nothing.

    Attributes:
        state: what a checkpoint must hold.
    """

    def __init__(self, network: keras.Model, share: float) -> None:
        super().__init__()
        self.share = share
        self._weights = [weight.value for weight in network.trainable_variables] if share else []
        self._means = [tf.Variable(weight, trainable=False) for weight in self._weights]
        self._steps = tf.Variable(0.0, trainable=False)
        self.state = [self._steps, *self._means]
        self._follow = tf.function(self._move, autograph=False)

    def _move(self) -> None:
        share = tf.minimum(self.share, self._steps / (self._steps + WARM_UP))
        for mean, weight in zip(self._means, self._weights, strict=True):
            mean.assign(share * mean + (1.0 - share) * weight)
        self._steps.assign_add(1.0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 -- Keras' signature
        """Takes in the weights after a step."""
        if self.share:
            self._follow()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Has the network use the mean for a while."""
        own = [weight.numpy() for weight in self._weights]
        _assign(self._weights, self._means)
        try:
            yield
        finally:
            _assign(self._weights, own)


def _assign(variables: list[tf.Variable], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
