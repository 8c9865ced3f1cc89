"""Scores recordings of any length in bounded memory.

A BLSTM may remember frames from any distance, so scoring the parts of a recording separately could change its scores. Instead,
the recording is processed window by window, and the state of each LSTM is passed from one window to the next. First, the
backward LSTM runs from the end to the start, and only its states between the windows are kept. Then both LSTMs run from the
start. The result equals that of the whole recording.

The layers before the BLSTM (convolutions) and after it (convolution, attention, dense layers) read a margin of frames beyond
each window. The margin exceeds the width of the convolutions. Attention covers its window and `ATTENTION_MARGIN` frames on
either side, for recordings of every length, including those of a single window.

A network may run its BLSTM on one step for two frames. Windows and margins then have whole steps.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from model.features import NUM_BINS, Frames
from model.networks.half_rate import TwoFramesPerStep

# Frames in a window, an even number: 32.8 s.
WINDOW = 2048
# Frames on either side of a window that the layers before the BLSTM (front) and attention read.
FRONT_MARGIN = 8
ATTENTION_MARGIN = 512


class LongRecordings:
    """Runs a network window by window over long recordings.

    Args:
        network: one of `architectures.NETWORKS`, with its weights.
        window: frames in a window, a multiple of the frames of a step.
    """

    def __init__(self, network: keras.Model, window: int = WINDOW) -> None:
        self.window = window
        blstm = network.get_layer("blstm")
        front = before_blstm(network)
        head = keras.Model([blstm.output, _input(network, "mask")], frame_outputs(network))
        self._step = frames_per_step(network)
        width, units = front.output.shape[-1], blstm.forward_layer.units
        lstms = [_with_state(layer, width) for layer in (blstm.forward_layer, blstm.backward_layer)]
        self._width = head.output.shape[-1]
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

    def frame_values(self, spectrogram: Frames) -> np.ndarray:
        """Computes the outputs for the frames of one recording.

        Args:
            spectrogram: spectrogram of the recording: [T, 257], T >= 1. It is read twice in parts, once from the end and
                once from the start.

        Returns:
            Outputs of the network (`frame_outputs`): float32 [T, K].
        """
        return np.concatenate(list(self.parts(spectrogram)))

    def parts(self, spectrogram: Frames) -> Iterator[np.ndarray]:
        """Computes the outputs window by window, so that the caller can do other work between them.

        Yields:
            First an empty array for each window but the first, while the backward LSTM runs; then the outputs for each window,
            float32 [frames, K].
        """
        starts = range(0, len(spectrogram), self.window)
        # The state of the backward LSTM at the right end of each window.
        states = [(self._start, self._start)]
        for start in reversed(starts[1:]):
            _, *state = self._run_backward(self._blstm_input(spectrogram, start), *states[-1])
            states.append((state[0], state[1]))
            yield np.empty((0, self._width), np.float32)
        windows = _neighbours(self._blstm_outputs(spectrogram, starts, states))
        margin = ATTENTION_MARGIN // self._step
        for start, (before, window, after) in zip(starts, windows, strict=True):
            before, after = before[-margin:], after[:margin]
            around = np.concatenate([before, window, after])[np.newaxis]
            values = self._run_head(around, np.ones((1, self._step * around.shape[1]), bool)).numpy()[0]
            first = self._step * len(before)
            yield values[first : first + min(self.window, len(spectrogram) - start)]

    def _blstm_outputs(self, spectrogram: Frames, starts: range, states: list) -> Iterator[np.ndarray]:
        """Yields the output of both LSTMs for each window from the start: [steps, 2 x units]."""
        hidden, cell = self._start, self._start
        for start in starts:
            x = self._blstm_input(spectrogram, start)
            forward, hidden, cell = self._run_forward(x, hidden, cell)
            backward, *_ = self._run_backward(x, *states.pop())
            yield np.concatenate([forward[0], backward[0][::-1]], axis=-1)

    def _blstm_input(self, spectrogram: Frames, start: int) -> tf.Tensor:
        """Computes the input of the BLSTM for the window at frame `start`: [1, steps, width]."""
        end = min(start + self.window, len(spectrogram))
        first, last = max(0, start - FRONT_MARGIN), min(len(spectrogram), end + FRONT_MARGIN)
        part = spectrogram[first:last][np.newaxis]
        steps = slice((start - first) // self._step, -((first - end) // self._step))
        return self._run_front(part, np.ones(part.shape[:2], bool))[:, steps]


def frame_outputs(network: keras.Model) -> keras.KerasTensor:
    """Returns all outputs for a frame: [B, T, K], the frame score, then `FRAME_VALUES` if the network gives a diagnosis."""
    # Keras numbers the default names of layers separately in each thread, so another thread would repeat names of the network.
    score = keras.layers.Reshape((-1, 1), name="frame_score_column")(network.output["frame_score"])
    diagnosis = network.output.get("diagnosis")
    return score if diagnosis is None else keras.layers.Concatenate(name="frame_outputs")([score, diagnosis])


def frames_per_step(network: keras.Model) -> int:
    """Returns the number of frames for a step of the BLSTM."""
    return 2 if any(isinstance(layer, TwoFramesPerStep) for layer in network.layers) else 1


def before_blstm(network: keras.Model) -> keras.Model:
    """Returns the layers before the BLSTM as a model: [spectrogram, mask] -> input of the BLSTM [B, T, width]."""
    blstm_input = network.get_layer("blstm").input[0]
    return keras.Model([_input(network, "spectrogram"), _input(network, "mask")], blstm_input)


def from_blstm(network: keras.Model) -> keras.Model:
    """Returns the BLSTM and the layers after it as a model: [input of the BLSTM, mask] -> `frame_outputs`."""
    blstm_input = network.get_layer("blstm").input[0]
    return keras.Model([blstm_input, _input(network, "mask")], frame_outputs(network))


def _input(network: keras.Model, name: str) -> keras.KerasTensor:
    return next(tensor for tensor in network.inputs if tensor.name == name)


def _neighbours(windows: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields each window with the one before and the one after it, which are empty at the ends."""
    window = next(windows)
    before = empty = window[:0]
    for after in windows:
        yield before, window, after
        before, window = window, after
    yield before, window, empty


def _with_state(layer: keras.layers.LSTM, width: int) -> keras.layers.LSTM:
    """Returns a copy of an LSTM with the same direction and weights, which also returns its last state."""
    config = {**layer.get_config(), "return_state": True, "return_sequences": True, "name": f"{layer.name}_carried"}
    copy = type(layer).from_config(config)
    copy.build((None, None, width))
    copy.set_weights(layer.get_weights())
    return copy
