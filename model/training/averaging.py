"""A running mean of the weights during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

# After n steps, the share of the past is at most n / (n + WARM_UP), so that the initial weights do not dominate the mean.
WARM_UP = 9.0


class WeightAverage(keras.callbacks.Callback):
    """A running mean of the weights of a network over training steps (Polyak and Juditsky, 1992).

    The mean has a smaller error than the weights of the last step.

    Args:
        network: network in training.
        share: share of the past in the mean, 0 to below 1; 0 for no mean.

    Attributes:
        state: variables that a checkpoint must hold.
    """

    def __init__(self, network: keras.Model, share: float) -> None:
        super().__init__()
        self.share = share
        self._weights = [weight.value for weight in network.trainable_variables] if share else []
        self._means = [tf.Variable(weight, trainable=False) for weight in self._weights]
        self._steps = tf.Variable(0.0, trainable=False)
        self.state = [self._steps, *self._means]
        self._update = tf.function(self._move_means, autograph=False)

    def _move_means(self) -> None:
        share = tf.minimum(self.share, self._steps / (self._steps + WARM_UP))
        for mean, weight in zip(self._means, self._weights, strict=True):
            mean.assign(share * mean + (1.0 - share) * weight)
        self._steps.assign_add(1.0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 -- Keras' signature
        """Updates the mean with the weights after a step."""
        if self.share:
            self._update()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Sets the network to the mean weights within the `with` block."""
        last = [weight.numpy() for weight in self._weights]
        _assign(self._weights, self._means)
        try:
            yield
        finally:
            _assign(self._weights, last)


def _assign(variables: list[tf.Variable], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
