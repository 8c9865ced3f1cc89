"""A bundle as one TensorFlow graph, from waveforms to both scores: for TensorFlow Serving and for converters.

What `Scorer` and what comes before it do in parts is here one function: framing, level, FFT, network, the ends of the scale,
pooling. The scores are the same, and no code of ours is needed to run it.
"""

from __future__ import annotations

import tensorflow as tf

from model.bundle import Bundle
from model.features import FRAME_LENGTH, FRAME_SHIFT, NUM_BINS, SILENCE, FeatureConfig, analysis_window
from model.inference.streaming import WINDOW
from model.networks.architectures import NETWORKS
from model.pooling import HALF_WINDOW, LOWEST, NEAREST, OFFSET, RANGE, SLOPE, UNDISTURBED, WINDOW_POWER, Pooling, mos

SIGNATURE = {
    "waveforms": tf.TensorSpec([None, None], tf.float32, name="waveforms"),
    "lengths": tf.TensorSpec([None], tf.int32, name="lengths"),
}


class WaveformModel(tf.Module):
    """A network with everything before and after it.

    Args:
        bundle: the model.

    Attributes:
        most_frames: of a recording; None for any number. Attention over more is defined by windows, which a graph of the
            whole does not have.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(name="audiosieve")
        self.network = NETWORKS[bundle.network]()
        self.network.load_weights(bundle.weights)
        self._features, self._pooling, self._scale = bundle.features, bundle.pooling, bundle.label_scale
        attends = any(layer.name == "attention" for layer in self.network.layers)
        self.most_frames = WINDOW if attends else None

    # No autograph, for the reason given in `Scorer`.
    @tf.function(input_signature=[SIGNATURE["waveforms"], SIGNATURE["lengths"]], autograph=False)
    def score(self, waveforms: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores recordings.

        Args:
            waveforms: float32 [B, n], 16 kHz, mono, full scale 1.0; beyond a recording's length whatever there is.
            lengths: int32 [B], samples of each, n at most.

        Returns:
            "score" float32 [B]; "frame_score" float32 [B, T], T of the longest, of which the first `num_frames` count;
            "num_frames" int32 [B]. A recording of under 512 samples, of silence or with a sample that is not finite has no
            score: its are NaN.

        Raises:
            tf.errors.InvalidArgumentError: a length is not within the waveforms, or over `most_frames`.
        """
        longest = tf.reduce_max(lengths)
        checks = [
            tf.debugging.assert_less_equal(longest, tf.shape(waveforms)[1], "a length is beyond the waveforms"),
            tf.debugging.assert_non_negative(lengths, "a length is under 0"),
        ]
        if self.most_frames is not None:
            most = (self.most_frames - 1) * FRAME_SHIFT + FRAME_LENGTH
            said = (
                f"this network attends over a whole recording, of {most} samples at most: cut it, or use `audiosieve`"
            )
            checks.append(tf.debugging.assert_less(longest, most + FRAME_SHIFT, said))
        with tf.control_dependencies(checks):
            num_frames = tf.maximum(0, 1 + (lengths - FRAME_LENGTH) // FRAME_SHIFT)
        # One frame at least, so that the network has something to work on.
        padded = tf.pad(waveforms, [[0, 0], [0, tf.maximum(0, FRAME_LENGTH - tf.shape(waveforms)[1])]])
        frames = tf.signal.frame(padded, FRAME_LENGTH, FRAME_SHIFT)[:, : tf.maximum(1, tf.reduce_max(num_frames))]
        mask = tf.range(tf.shape(frames)[1])[tf.newaxis] < num_frames[:, tf.newaxis]
        frames = tf.where(mask[..., tf.newaxis], frames, 0.0)
        x = spectrogram(frames, mask, self._features)
        found = self.network({"spectrogram": x, "mask": mask})["frame_score"]
        found = tf.clip_by_value(found, self._scale.low, self._scale.high)
        score = pool(found, mask, self._pooling)
        heard = tf.logical_and(num_frames > 0, tf.reduce_any(x != 0.0, axis=[1, 2]))
        # Asked here: whether a NaN comes out of minimum and maximum as one depends on the processor.
        scored = tf.logical_and(heard, tf.reduce_all(tf.math.is_finite(frames), axis=[1, 2]))
        nothing = tf.constant(float("nan"))
        return {
            "score": tf.where(scored, score, nothing),
            "frame_score": tf.where(tf.logical_and(mask, scored[:, tf.newaxis]), found, nothing),
            "num_frames": num_frames,
        }


def spectrogram(frames: tf.Tensor, mask: tf.Tensor, config: FeatureConfig) -> tf.Tensor:
    """`features.spectrogram` of a batch: zeros throughout for a recording without a level.

    Args:
        frames: float32 [B, T, 512], zeros at padding.
        mask: bool [B, T], true at real frames.
        config: what to compute.

    Returns:
        float32 [B, T, 257], zeros at padding.
    """
    window = tf.constant(analysis_window(config.window))
    heard = mask
    if config.level == "gated":
        power = tf.reduce_mean(tf.square(tf.cast(frames, tf.float64)), axis=-1)
        real = tf.cast(mask, tf.float64)
        mean = tf.reduce_sum(power, axis=1, keepdims=True) / tf.maximum(tf.reduce_sum(real, axis=1, keepdims=True), 1.0)
        active = real * tf.cast(power >= 0.1 * mean, tf.float64)
        level = tf.sqrt(
            tf.reduce_sum(power * active, axis=1) / tf.maximum(tf.reduce_sum(active, axis=1), 1.0)
        )[:, tf.newaxis, tf.newaxis]  # fmt: skip
        silent = level < SILENCE
        window = window / tf.cast(tf.where(silent, tf.constant(1.0, tf.float64), level), tf.float32)
        heard = tf.logical_and(mask, tf.logical_not(silent[..., 0]))
    # All frames in a row: tf2onnx knows no other transform.
    flat = tf.abs(tf.signal.rfft(tf.reshape(frames * window, [-1, FRAME_LENGTH])))
    x = tf.reshape(flat, [tf.shape(frames)[0], -1, NUM_BINS])
    if config.compression == "log":
        x = tf.math.log(x + config.floor)
    return tf.where(heard[..., tf.newaxis], x, 0.0)


def pool(frame_score: tf.Tensor, mask: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """`pooling.pool` of a batch of frame scores [B, T], over the frames where mask [B, T] is true: float32 [B]."""
    x, real = tf.cast(frame_score, tf.float64), tf.cast(mask, tf.float64)
    if pooling == "mean":
        mean = tf.reduce_sum(x * real, axis=1) / tf.maximum(tf.reduce_sum(real, axis=1), 1.0)
        return tf.cast(mean, tf.float32)
    held = tf.clip_by_value(x, LOWEST + NEAREST, LOWEST + RANGE - NEAREST)
    raw = (OFFSET - tf.math.log(RANGE / (held - LOWEST) - 1.0)) / SLOPE
    powers = tf.pow(tf.maximum(UNDISTURBED - raw, 0.0), WINDOW_POWER) * real
    sums, counts = _halves(powers), _halves(real)  # [B, ceil(T / 10)]
    # Each window is a half and the next one; the last half is a window by itself.
    sums, all_counts = (values + tf.pad(values, [[0, 0], [0, 1]])[:, 1:] for values in (sums, counts))
    means = tf.pow(sums / tf.maximum(all_counts, 1.0), 2 / WINDOW_POWER)
    windows = tf.cast(counts > 0, tf.float64)
    norm = tf.sqrt(tf.reduce_sum(means * windows, axis=1) / tf.maximum(tf.reduce_sum(windows, axis=1), 1.0))
    return tf.cast(mos(norm, tf.exp), tf.float32)


def _halves(values: tf.Tensor) -> tf.Tensor:
    """Sums over half a window each: [B, T] -> [B, ceil(T / 10)]."""
    length = tf.shape(values)[1]
    count = (length + HALF_WINDOW - 1) // HALF_WINDOW
    padded = tf.pad(values, [[0, 0], [0, count * HALF_WINDOW - length]])
    return tf.reduce_sum(tf.reshape(padded, [-1, count, HALF_WINDOW]), axis=-1)
