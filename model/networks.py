"""The networks, each one function that reads as its diagram. All map spectrograms to frame scores and their mean.

Every network takes "spectrogram" float32 [B, T, 257] and "mask" bool [B, T] (true at real frames, false at padding)
and returns "frame_score" float32 [B, T] and "score" float32 [B], the mean of the real frames' scores.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import layers, ops

from model.attention import AdditiveAttention
from model.features import NUM_BINS

LSTM_UNITS = 100
CONV_FILTERS = 250
CONV_WIDTH = 3
ATTENTION_UNITS = 32
DENSE_UNITS = 50


def quality_net() -> keras.Model:
    """Quality-Net (Fu et al., Interspeech 2018): BLSTM -> Dense 50 ELU -> frame score.

    The forget gates start at -3, as published: the memory of the LSTM starts short, so that a frame's score speaks of
    the frames around it.
    """
    spectrogram, mask = _inputs()
    x = _blstm(forget_bias=-3.0)(spectrogram, mask=mask)  # [B, T, 200]
    x = layers.Dense(DENSE_UNITS, activation="elu", name="dense")(x)  # [B, T, 50]
    return _scored("quality_net", spectrogram, mask, x)


def lc_att() -> keras.Model:
    """BLSTM -> 1-D CNN -> additive self-attention -> Dense 50 -> frame score (the LC_ATT variant)."""
    spectrogram, mask = _inputs()
    x = _blstm(forget_bias=1.0)(spectrogram, mask=mask)  # [B, T, 200]
    x = x * ops.cast(mask, "float32")[..., None]  # the convolution must read zeros past the end, whatever the batch
    x = layers.Conv1D(CONV_FILTERS, CONV_WIDTH, padding="same", activation="relu", name="conv")(x)  # [B, T, 250]
    x = AdditiveAttention(ATTENTION_UNITS, name="attention")(x, mask=mask)  # [B, T, 250]
    x = layers.Dense(DENSE_UNITS, activation="elu", name="dense")(x)  # [B, T, 50]
    return _scored("lc_att", spectrogram, mask, x)


NETWORKS: dict[str, Callable[[], keras.Model]] = {"quality_net": quality_net, "lc_att": lc_att}


def masked_mean(x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean of x [B, T] over the frames where mask [B, T] is true: [B]."""
    weight = ops.cast(mask, "float32")
    return ops.sum(x * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1.0)


def _inputs() -> tuple[keras.KerasTensor, keras.KerasTensor]:
    return (
        keras.Input((None, NUM_BINS), name="spectrogram", dtype="float32"),
        keras.Input((None,), name="mask", dtype="bool"),
    )


def _blstm(forget_bias: float) -> layers.Layer:
    lstm = layers.LSTM(
        LSTM_UNITS, return_sequences=True, unit_forget_bias=False, bias_initializer=ForgetBias(forget_bias)
    )
    return layers.Bidirectional(lstm, name="blstm")


@keras.saving.register_keras_serializable("audiosieve")
class ForgetBias(keras.initializers.Initializer):
    """Starts the forget gates of an LSTM at `value` and its other gates at 0 (gate order: input, forget, cell, output)."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        """The bias [4 x units]."""
        gate = tf.repeat(tf.constant([0.0, self.value, 0.0, 0.0], dtype or "float32"), shape[0] // 4)
        return tf.reshape(gate, shape)

    def get_config(self) -> dict[str, float]:
        """The arguments that make this initializer again."""
        return {"value": self.value}


def _scored(name: str, spectrogram: keras.KerasTensor, mask: keras.KerasTensor, x: keras.KerasTensor) -> keras.Model:
    x = layers.Dense(1, name="frame_score")(x)  # [B, T, 1]
    frame_score = ops.squeeze(x, axis=-1)  # [B, T]
    return keras.Model(
        {"spectrogram": spectrogram, "mask": mask},
        {"frame_score": frame_score, "score": masked_mean(frame_score, mask)},
        name=name,
    )
