"""A bundle as one TensorFlow graph from waveforms to scores, for TensorFlow Serving and for converters.

One function contains framing, level, FFT, network, limits of the scale, and pooling. The scores equal those of `Scorer`, and
running the graph does not need audiosieve.
"""

from __future__ import annotations

import tensorflow as tf

from model.bundle import Bundle
from model.diagnosis import FRAME_VALUES
from model.features import FRAME_LENGTH, FRAME_SHIFT, NUM_BINS, SILENCE, FeatureConfig, analysis_window
from model.inference.streaming import WINDOW
from model.networks.architectures import NETWORKS
from model.networks.fused_lstm import use_loop
from model.pooling import (
    BEST_RAW_SCORE,
    END_MARGIN,
    HALF_WINDOW,
    LOWEST,
    OFFSET,
    RANGE,
    SLOPE,
    WINDOW_POWER,
    Pooling,
    mos,
)

SIGNATURE = {
    "waveforms": tf.TensorSpec([None, None], tf.float32, name="waveforms"),
    "lengths": tf.TensorSpec([None], tf.int32, name="lengths"),
}


class WaveformModel(tf.Module):
    """A network with the features before it and the pooling after it.

    Args:
        bundle: bundle of the network.

    Attributes:
        max_frames: longest recording in frames; None for no limit. Networks with attention have a limit, because this graph
            does not process longer recordings in windows.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(name="audiosieve")
        self.network = NETWORKS[bundle.network]()
        self.network.load_weights(bundle.weights)
        use_loop(self.network)
        self._features, self._pooling, self._scale = bundle.features, bundle.pooling, bundle.label_scale
        self._is_trained = [name in bundle.trained for name in FRAME_VALUES]
        has_attention = any(layer.name == "attention" for layer in self.network.layers)
        self.max_frames = WINDOW if has_attention else None

    # No autograph, for the reason given in `Scorer`.
    @tf.function(input_signature=[SIGNATURE["waveforms"], SIGNATURE["lengths"]], autograph=False)
    def score(self, waveforms: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores recordings.

        Args:
            waveforms: mono samples at 16 kHz, full scale 1.0: float32 [B, n]. Values after the end of a recording are ignored.
            lengths: number of samples of each recording: int32 [B], 0 to n.

        Returns:
            "score" float32 [B]; "num_frames" int32 [B]; and "frame_score" float32 [B, T], where T is the number of frames of
            the longest recording, and NaN follows the last frame of a shorter one. All scores of a recording are NaN if it has
            fewer than 512 samples, is silent, or has a sample that is not finite. Networks with a diagnosis also return
            "diagnosis" float32 [B, T, 15], in the order of `diagnosis.FRAME_VALUES`, with NaN in the same places, and for
            values that the network was not trained on.

        Raises:
            tf.errors.InvalidArgumentError: a length is negative, or exceeds the waveforms or `max_frames`.
        """
        longest = tf.reduce_max(lengths)
        checks = [
            tf.debugging.assert_less_equal(longest, tf.shape(waveforms)[1], "a length exceeds the waveforms"),
            tf.debugging.assert_non_negative(lengths, "a length is negative"),
        ]
        if self.max_frames is not None:
            limit = (self.max_frames - 1) * FRAME_SHIFT + FRAME_LENGTH
            message = (
                f"this network attends over the whole recording, which may have at most {limit} samples; cut it, or use "
                "`audiosieve`"
            )
            checks.append(tf.debugging.assert_less(longest, limit + FRAME_SHIFT, message))
        with tf.control_dependencies(checks):
            num_frames = tf.maximum(0, 1 + (lengths - FRAME_LENGTH) // FRAME_SHIFT)
        # The network needs at least one frame.
        padded = tf.pad(waveforms, [[0, 0], [0, tf.maximum(0, FRAME_LENGTH - tf.shape(waveforms)[1])]])
        frames = tf.signal.frame(padded, FRAME_LENGTH, FRAME_SHIFT)[:, : tf.maximum(1, tf.reduce_max(num_frames))]
        mask = tf.range(tf.shape(frames)[1])[tf.newaxis] < num_frames[:, tf.newaxis]
        frames = tf.where(mask[..., tf.newaxis], frames, 0.0)
        x = batch_spectrogram(frames, mask, self._features)
        network_outputs = self.network({"spectrogram": x, "mask": mask})
        frame_score = network_outputs["frame_score"]
        frame_score = tf.clip_by_value(frame_score, self._scale.low, self._scale.high)
        score = pool_batch(frame_score, mask, self._pooling)
        has_signal = tf.logical_and(num_frames > 0, tf.reduce_any(x != 0.0, axis=[1, 2]))
        # The samples are tested, because minimum and maximum preserve a NaN only on some processors.
        is_valid = tf.logical_and(has_signal, tf.reduce_all(tf.math.is_finite(frames), axis=[1, 2]))
        nan = tf.constant(float("nan"))
        is_valid_frame = tf.logical_and(mask, is_valid[:, tf.newaxis])
        outputs = {
            "score": tf.where(is_valid, score, nan),
            "frame_score": tf.where(is_valid_frame, frame_score, nan),
            "num_frames": num_frames,
        }
        if "diagnosis" in network_outputs:
            is_known = tf.logical_and(is_valid_frame[..., tf.newaxis], self._is_trained)
            outputs["diagnosis"] = tf.where(is_known, network_outputs["diagnosis"], nan)
        return outputs


def batch_spectrogram(frames: tf.Tensor, mask: tf.Tensor, config: FeatureConfig) -> tf.Tensor:
    """Computes `features.spectrogram` of a batch; all zeros for a silent recording.

    Args:
        frames: frames of samples, zeros at padding: float32 [B, T, 512].
        mask: true at real frames: bool [B, T].
        config: parameters of the spectrogram.

    Returns:
        Spectrograms, zeros at padding: float32 [B, T, 257].
    """
    window = tf.constant(analysis_window(config.window))
    is_valid = mask
    if config.level == "gated":
        power = tf.reduce_mean(tf.square(tf.cast(frames, tf.float64)), axis=-1)
        real = tf.cast(mask, tf.float64)
        mean = tf.reduce_sum(power, axis=1, keepdims=True) / tf.maximum(tf.reduce_sum(real, axis=1, keepdims=True), 1.0)
        active = real * tf.cast(power >= 0.1 * mean, tf.float64)
        active_power = tf.reduce_sum(power * active, axis=1) / tf.maximum(tf.reduce_sum(active, axis=1), 1.0)
        level = tf.sqrt(active_power)[:, tf.newaxis, tf.newaxis]
        is_silent = level < SILENCE
        window = window / tf.cast(tf.where(is_silent, tf.constant(1.0, tf.float64), level), tf.float32)
        is_valid = tf.logical_and(mask, tf.logical_not(is_silent[..., 0]))
    # tf2onnx supports the transform only for two-dimensional inputs.
    flat = tf.abs(tf.signal.rfft(tf.reshape(frames * window, [-1, FRAME_LENGTH])))
    x = tf.reshape(flat, [tf.shape(frames)[0], -1, NUM_BINS])
    if config.compression == "log":
        x = tf.math.log(x + config.floor)
    return tf.where(is_valid[..., tf.newaxis], x, 0.0)


def pool_batch(frame_score: tf.Tensor, mask: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """Computes `pooling.pool` of frame scores [B, T] over the frames where mask [B, T] is true: float32 [B]."""
    x, real = tf.cast(frame_score, tf.float64), tf.cast(mask, tf.float64)
    if pooling == "mean":
        mean = tf.reduce_sum(x * real, axis=1) / tf.maximum(tf.reduce_sum(real, axis=1), 1.0)
        return tf.cast(mean, tf.float32)
    clipped = tf.clip_by_value(x, LOWEST + END_MARGIN, LOWEST + RANGE - END_MARGIN)
    raw = (OFFSET - tf.math.log(RANGE / (clipped - LOWEST) - 1.0)) / SLOPE
    powers = tf.pow(tf.maximum(BEST_RAW_SCORE - raw, 0.0), WINDOW_POWER) * real
    sums, counts = _halves(powers), _halves(real)  # [B, ceil(T / 10)]
    # A window is a half window and the next one. The last half window is a window of its own.
    sums, all_counts = (values + tf.pad(values, [[0, 0], [0, 1]])[:, 1:] for values in (sums, counts))
    means = tf.pow(sums / tf.maximum(all_counts, 1.0), 2 / WINDOW_POWER)
    windows = tf.cast(counts > 0, tf.float64)
    norm = tf.sqrt(tf.reduce_sum(means * windows, axis=1) / tf.maximum(tf.reduce_sum(windows, axis=1), 1.0))
    return tf.cast(mos(norm, tf.exp), tf.float32)


def _halves(values: tf.Tensor) -> tf.Tensor:
    """Sums over half windows: [B, T] -> [B, ceil(T / 10)]."""
    length = tf.shape(values)[1]
    count = (length + HALF_WINDOW - 1) // HALF_WINDOW
    padded = tf.pad(values, [[0, 0], [0, count * HALF_WINDOW - length]])
    return tf.reduce_sum(tf.reshape(padded, [-1, count, HALF_WINDOW]), axis=-1)
