"""An LSTM that computes all steps in one operation of TensorFlow, which is faster on a CPU than a loop of operations."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

# Options of an LSTM of which the operation knows only the defaults.
FIXED_OPTIONS = ("activation", "recurrent_activation", "use_bias", "dropout", "recurrent_dropout")


@keras.saving.register_keras_serializable("audiosieve")
class FusedLSTM(keras.layers.LSTM):
    """A `keras.layers.LSTM` whose steps are one operation, `BlockLSTM`. On a GPU it stays Keras's own, which uses cuDNN.

    It has the weights of its base class, and the same results at real frames. A mask may only hide frames at the end, and the
    outputs there are meaningless.

    Args:
        units: size of the output and of the cell.
        **options: options of the base class. Activations, bias and dropout must be the defaults, which the operation has.

    Attributes:
        is_fused: whether to use the operation. Converters to other formats know only the loop.

    Raises:
        ValueError: an option is not supported.
    """

    is_fused = True

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(units, **options)
        default = keras.layers.LSTM(units).get_config()
        config = self.get_config()
        if others := [name for name in FIXED_OPTIONS if config[name] != default[name]]:
            raise ValueError(f"a FusedLSTM has the default of {', '.join(others)}")

    def inner_loop(
        self, sequences: tf.Tensor, initial_state: list[tf.Tensor], mask: Any, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Runs all steps.

        Args:
            sequences: inputs: float32 [B, T, D], T >= 1.
            initial_state: output and cell before the first step: two of float32 [B, units].
            mask: true at real frames: bool [B, T]; None if all are real.
            training: not used; there is no dropout.

        Returns:
            The output of the last real step [B, units], the outputs of all steps [B, T, units], in reverse if `go_backwards`,
            and the output and cell of the last real step.
        """
        if not self.is_fused or tf.config.list_logical_devices("GPU"):
            return super().inner_loop(sequences, initial_state, mask, training=training)
        x = tf.transpose(sequences, [1, 0, 2])  # [T, B, D]
        steps, batch = tf.shape(x)[0], tf.shape(x)[1]
        if mask is None:
            lengths = tf.repeat(steps, batch)
        else:
            lengths = tf.math.count_nonzero(tf.nest.flatten(mask)[0], axis=1, dtype=tf.int32)
        if self.go_backwards:
            x = tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)
        cell, output = self._all_steps(x, *initial_state)  # [T, B, units]
        last = tf.stack([tf.maximum(lengths - 1, 0), tf.range(batch)], axis=1)
        last_output, last_cell = tf.gather_nd(output, last), tf.gather_nd(cell, last)
        if self.go_backwards:
            # Keras reverses the padding too, so that it comes first.
            output = tf.reverse(tf.reverse_sequence(output, lengths, seq_axis=0, batch_axis=1), axis=[0])
        return last_output, tf.transpose(output, [1, 0, 2]), [last_output, last_cell]

    def _all_steps(self, x: tf.Tensor, output: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the cells and the outputs of all steps: [T, B, D] and the state before them -> two of [T, B, units]."""
        no_peephole = tf.zeros([self.units])
        # Not BlockLSTMV2, although its gates have Keras's order: its gradient takes them for those of BlockLSTM.
        steps = tf.raw_ops.BlockLSTM(
            seq_len_max=tf.shape(x, tf.int64)[0],
            x=x,
            cs_prev=cell,
            h_prev=output,
            w=_in_block_order(tf.concat([self.cell.kernel, self.cell.recurrent_kernel], axis=0)),
            wci=no_peephole,
            wcf=no_peephole,
            wco=no_peephole,
            b=_in_block_order(self.cell.bias),
            forget_bias=0.0,
            cell_clip=-1.0,
            use_peephole=False,
        )
        return steps.cs, steps.h


def use_loop(network: keras.Model) -> None:
    """Makes the LSTMs of a network run step by step from the next trace on, in operations that converters know."""
    blstm = network.get_layer("blstm")
    for layer in (blstm.forward_layer, blstm.backward_layer):
        layer.is_fused = False


def _in_block_order(weights: tf.Tensor) -> tf.Tensor:
    """Changes the order of the gates in the last axis from Keras's (input, forget, cell, output) to that of `BlockLSTM`."""
    in_gate, forget_gate, cell, out_gate = tf.split(weights, 4, axis=-1)
    return tf.concat([in_gate, cell, forget_gate, out_gate], axis=-1)
