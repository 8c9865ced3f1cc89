"""Layers for a network that runs at half the frame rate: one step for two frames."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("audiosieve")
class EvenFrames(keras.layers.Layer):
    """Appends a frame of zeros if the number of frames is odd: [B, T, ...] -> [B, 2 ceil(T / 2), ...].

    Without it, the padding "same" of a convolution with stride 2 would start one frame earlier in a batch of odd length.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pads the frames."""
        odd = tf.shape(inputs)[1] % 2
        return tf.pad(inputs, [[0, 0], [0, odd], *[[0, 0]] * (inputs.shape.rank - 2)])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the output; its number of frames is unknown."""
        return (input_shape[0], None, *input_shape[2:])


@keras.saving.register_keras_serializable("audiosieve")
class TwoFramesPerStep(keras.layers.Layer):
    """Splits each step into two frames: [B, ceil(T / 2), 2 F] and the mask [B, T] -> [B, T, F]."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # The mask of the steps ends here; it has another length than the frames.
        self.supports_masking = True

    def call(self, steps: tf.Tensor, frame_mask: tf.Tensor) -> tf.Tensor:
        """Returns the frames, without the one that `EvenFrames` appended."""
        frames = tf.reshape(steps, [tf.shape(steps)[0], -1, steps.shape[-1] // 2])
        return frames[:, : tf.shape(frame_mask)[1]]

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Returns no mask."""

    def compute_output_shape(
        self, steps_shape: tuple[int | None, ...], frame_mask_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        width = steps_shape[-1]
        assert width is not None, "a network has a fixed width"
        return (steps_shape[0], frame_mask_shape[1], width // 2)
