"""Frame scores of a recording of any length, in memory that does not grow with it.

A network's BLSTM has a memory without a known end: cut anywhere, a recording could score otherwise. So nothing is cut: the
recording is worked through window by window, and the state of each LSTM is carried over from one window to the next. First
the backward LSTM runs from the end to the start, and only its states between the windows are kept; then both run together
from the start on. That is the computation over the whole recording, not an approximation of it.

What comes before the BLSTM (convolutions) and after it (convolution, attention, dense layers) reads a margin of frames beyond
each window. Of convolutions the margin is wider than all that they read. Attention looks over all frames of its window and
`ATTENTION_MARGIN` on either side: a rule for recordings of every length, those of a single window included.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from model.features import NUM_BINS, Frames

# Frames of a window: 32.8 s.
WINDOW = 2048
# Frames beyond a window that what stands before the BLSTM, and after it, reads.
FRONT_MARGIN = 8
ATTENTION_MARGIN = 512


class LongRecordings:
    """A network, taken apart before and after its BLSTM.

    Args:
        network: one of `networks.NETWORKS`, its weights loaded.
        window: frames that are worked through at a time.
    """

    def __init__(self, network: keras.Model, window: int = WINDOW) -> None:
        self.window = window
        blstm = network.get_layer("blstm")
        front = before_blstm(network)
        head = keras.Model([blstm.output, _input(network, "mask")], network.output["frame_score"])
        width, units = front.output.shape[-1], blstm.forward_layer.units
        lstms = [_with_state(layer, width) for layer in (blstm.forward_layer, blstm.backward_layer)]
        self._start = np.zeros((1, units), np.float32)
        frames = [1, None]
        state = tf.TensorSpec([1, units], tf.float32)
        whole_mask = tf.TensorSpec(frames, tf.bool)
        # No autograph, for the reason given in `Scorer`.
        self._run_front = tf.function(
            lambda x, mask: front([x, mask]),
            input_signature=[tf.TensorSpec([*frames, NUM_BINS], tf.float32), whole_mask],
            autograph=False,
        )
        self._run_forward, self._run_backward = (
            tf.function(
                lambda x, hidden, cell, layer=layer: layer(x, initial_state=[hidden, cell]),
                input_signature=[tf.TensorSpec([*frames, width], tf.float32), state, state],
                autograph=False,
            )
            for layer in lstms
        )
        self._run_head = tf.function(
            lambda x, mask: head([x, mask]),
            input_signature=[tf.TensorSpec([*frames, 2 * units], tf.float32), whole_mask],
            autograph=False,
        )

    def frame_scores(self, spectrogram: Frames) -> np.ndarray:
        """Scores of the frames of one recording.

        Args:
            spectrogram: [T, 257], T >= 1. Read twice, in parts, once from its end and once from its start.

        Returns:
            float32 [T], as the network's last layer gives them.
        """
        return np.concatenate(list(self.parts(spectrogram)))

    def parts(self, spectrogram: Frames) -> Iterator[np.ndarray]:
        """`frame_scores`, window by window, for a caller who has other things to do in between.

        Yields:
            Scores of the next frames, float32, after each window that was worked through; first, as long as the recording is
            only read backwards, of none.
        """
        starts = range(0, len(spectrogram), self.window)
        # The backward LSTM's state as it enters each window from the right.
        states = [(self._start, self._start)]
        for start in reversed(starts[1:]):
            _, *state = self._run_backward(self._front_of(spectrogram, start), *states[-1])
            states.append((state[0], state[1]))
            yield np.empty(0, np.float32)
        for before, window, after in _neighbours(self._heard(spectrogram, starts, states)):
            before, after = before[-ATTENTION_MARGIN:], after[:ATTENTION_MARGIN]
            around = np.concatenate([before, window, after])[np.newaxis]
            found = self._run_head(around, np.ones(around.shape[:2], bool)).numpy()[0]
            yield found[len(before) : len(before) + len(window)]

    def _heard(self, spectrogram: Frames, starts: range, states: list) -> Iterator[np.ndarray]:
        """What both LSTMs give for each window, from the start on: [frames, 2 x units]."""
        hidden, cell = self._start, self._start
        for start in starts:
            x = self._front_of(spectrogram, start)
            forward, hidden, cell = self._run_forward(x, hidden, cell)
            backward, *_ = self._run_backward(x, *states.pop())
            yield np.concatenate([forward[0], backward[0][::-1]], axis=-1)

    def _front_of(self, spectrogram: Frames, start: int) -> tf.Tensor:
        """What enters the BLSTM for the window that begins there: [1, frames, width]."""
        end = min(start + self.window, len(spectrogram))
        first, last = max(0, start - FRONT_MARGIN), min(len(spectrogram), end + FRONT_MARGIN)
        part = spectrogram[first:last][np.newaxis]
        return self._run_front(part, np.ones(part.shape[:2], bool))[:, start - first : end - first]


def before_blstm(network: keras.Model) -> keras.Model:
    """What stands before the BLSTM of one of `networks.NETWORKS`: [spectrogram, mask] -> what enters it, [B, T, width]."""
    entering = network.get_layer("blstm").input[0]
    return keras.Model([_input(network, "spectrogram"), _input(network, "mask")], entering)


def from_blstm(network: keras.Model) -> keras.Model:
    """The rest of it: [what enters the BLSTM, mask] -> frame scores, [B, T]."""
    entering = network.get_layer("blstm").input[0]
    return keras.Model([entering, _input(network, "mask")], network.output["frame_score"])


def _input(network: keras.Model, name: str) -> keras.KerasTensor:
    return next(tensor for tensor in network.inputs if tensor.name == name)


def _neighbours(windows: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each window with the one before and the one after it; empty ones at the ends."""
    window = next(windows)
    before = nothing = window[:0]
    for after in windows:
        yield before, window, after
        before, window = window, after
    yield before, window, nothing


def _with_state(layer: keras.layers.LSTM, width: int) -> keras.layers.LSTM:
    """The same LSTM, which gives its last state too and runs backwards where the other does."""
    config = {**layer.get_config(), "return_state": True, "return_sequences": True, "name": f"{layer.name}_carried"}
    twin = keras.layers.LSTM.from_config(config)
    twin.build((None, None, width))
    twin.set_weights(layer.get_weights())
    return twin
