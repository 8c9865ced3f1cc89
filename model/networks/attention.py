"""Exact additive self-attention over frames in bounded memory."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

# Size of the blocks of queries in training, in `block_bytes`.
TRAINING_BLOCKS = 4


@keras.saving.register_keras_serializable("audiosieve")
class AdditiveAttention(keras.layers.Layer):
    """Additive (Bahdanau) self-attention, as eq. 5 of the paper on BLSTM and attention for audio quality.

    For input x [B, T, F]:

        h[t, s] = tanh(x[t] W_t + x[s] W_x + b_h)        [units]
        e[t, s] = sigmoid(h[t, s] . w_a + b_a)
        a[t, .] = softmax over all s that are not masked
        y[t]    = sum over s of a[t, s] x[s]             [B, T, F]

    The energies lie between 0 and 1, so no weight is more than e times another one: the layer is a smooth mean over the
    recording. With `energy="linear"`, e[t, s] has no sigmoid, and the layer can attend to a few frames only.

    The paper leaves open whether its frames t include the query itself, and how padding is treated. Here every real frame,
    the query included, takes part, and padding does not.

    With F = 250 and 32 units, the layer has 16,065 parameters. For all pairs, h would take B x T x T x units floats, which is
    180 GB for ten minutes. Therefore the queries t are processed in blocks whose h fits into `block_bytes`. Every query still
    covers every frame, so the result is exact.

    Args:
        units: size of the hidden layer.
        energy: function on the energies: "sigmoid" as published, or "linear" for none.
        block_bytes: largest size of the hidden layer for one block of queries; a block has at least one query. In training,
            blocks are four times as large: it keeps the hidden layers of all blocks anyway, and one block is the fastest.
    """

    def __init__(
        self,
        units: int = 32,
        energy: Literal["sigmoid", "linear"] = "sigmoid",
        block_bytes: int = 64 << 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if energy not in ("sigmoid", "linear"):
            raise ValueError(f"energy is {energy!r}; must be 'sigmoid' or 'linear'")
        self.units = units
        self.energy_function = energy
        self.block_bytes = block_bytes
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs [B, T, F]."""
        width = input_shape[-1]
        self.query = self.add_weight(name="query", shape=(width, self.units), initializer="glorot_uniform")
        self.key = self.add_weight(name="key", shape=(width, self.units), initializer="glorot_uniform")
        self.hidden_bias = self.add_weight(name="hidden_bias", shape=(self.units,), initializer="zeros")
        self.energy = self.add_weight(name="energy", shape=(self.units, 1), initializer="glorot_uniform")
        self.energy_bias = self.add_weight(name="energy_bias", shape=(1,), initializer="zeros")

    def call(self, inputs: tf.Tensor, mask: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Attends over the frames of `inputs` [B, T, F]; `mask` [B, T] is true at real frames."""
        block_bytes = (TRAINING_BLOCKS if training else 1) * self.block_bytes
        batch, length = tf.shape(inputs)[0], tf.shape(inputs)[1]
        queries = inputs @ self.query + self.hidden_bias  # [B, T, units]
        keys = inputs @ self.key  # [B, T, units]
        if mask is None:
            mask = tf.ones((batch, length), tf.bool)
        # exp(-1e9) is 0 in float32. Unlike -inf, it gives no NaN for a row that is all padding.
        masked_energy = tf.where(mask, 0.0, -1e9)[:, tf.newaxis, :]  # [B, 1, T]

        @tf.autograph.experimental.do_not_convert  # for the reason given in `Scorer`; map_fn converts otherwise
        def attend(block: tf.Tensor) -> tf.Tensor:
            hidden = tf.tanh(block[:, :, tf.newaxis, :] + keys[:, tf.newaxis, :, :])  # [B, block, T, units]
            # With `@`, TensorFlow 2.21 can crash if a block has one query.
            energy = tf.tensordot(hidden, self.energy[:, 0], 1) + self.energy_bias
            if self.energy_function == "sigmoid":
                energy = tf.sigmoid(energy)
            return tf.nn.softmax(energy + masked_energy) @ inputs  # [B, block, F]

        max_queries = tf.maximum(block_bytes // 4 // (batch * length * self.units), 1)
        block = tf.minimum(max_queries, length)
        num_blocks = (length + block - 1) // block

        def all_blocks() -> tf.Tensor:
            padded = tf.pad(queries, [[0, 0], [0, num_blocks * block - length], [0, 0]])
            blocks = tf.transpose(tf.reshape(padded, [batch, num_blocks, block, self.units]), [1, 0, 2, 3])
            out = tf.map_fn(attend, blocks, fn_output_signature=inputs.dtype, parallel_iterations=1)
            out = tf.reshape(tf.transpose(out, [1, 0, 2, 3]), [batch, num_blocks * block, inputs.shape[-1]])
            return out[:, :length]

        return tf.cond(num_blocks > 1, all_blocks, lambda: attend(queries))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        arguments = {"units": self.units, "energy": self.energy_function, "block_bytes": self.block_bytes}
        return {**super().get_config(), **arguments}
