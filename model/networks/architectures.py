"""The network architectures, one function each, in the order of their layers.

Every network takes "spectrogram" float32 [B, T, 257] and "mask" bool [B, T] (true at real frames, false at padding), and
returns "frame_score" float32 [B, T] and "score" float32 [B], pooled over the real frames. The diagnostic networks also return
"diagnosis" float32 [B, T, 15], in the order of `diagnosis.FRAME_VALUES`.

`l_1dcnn`, `l_att` and `lc_att` are those of the paper on BLSTM and attention for audio quality (its Table 2), whose baseline is
`quality_net`. The paper leaves these points open:

- compression of the spectrogram: that of `FeatureConfig`, by default the logarithm of a level-normalised magnitude;
- activation of the 1-D CNN and the dense layer: ReLU, and ELU as in Quality-Net;
- initial weights: those of Keras; only Quality-Net has its published forget bias of -3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import keras
import tensorflow as tf
from keras import layers, ops

from model.diagnosis import FRAME_VALUES, HEARD_CAUSES, RATINGS
from model.features import NUM_BINS
from model.networks.attention import AdditiveAttention
from model.networks.fused_lstm import FusedLSTM
from model.networks.half_rate import EvenFrames, TwoFramesPerStep
from model.pooling import HALF_WINDOW, WINDOW_POWER, mos

LSTM_UNITS = 100
CONV_FILTERS = 250
CONV_WIDTH = 3
ATTENTION_UNITS = 32
# End of the name of a network, by the function on the energies of its attention.
NAME_SUFFIX = {"sigmoid": "", "linear": "_linear"}
DENSE_UNITS = 50
CAUSE_UNITS = 64
TINY = 1e-12
# Layer of the diagnostic networks whose outputs `diagnosis_of` maps to the diagnosis.
RAW_DIAGNOSIS = "raw_diagnosis"
# SNR and C50 of an output of 0, and of one more, in dB.
MEAN_DB, DB_UNIT = 20.0, 10.0


def quality_net() -> keras.Model:
    """Quality-Net (Fu et al., Interspeech 2018): BLSTM -> Dense 50 ELU -> frame score.

    As published, the bias of the forget gates is initialised to -3. The LSTM thus starts with a short memory, so that a frame
    score depends mainly on the frames around it.
    """
    spectrogram, mask = _inputs()
    x = _blstm(spectrogram, mask, forget_bias=-3.0)  # [B, T, 200]
    x = _dense(x)  # [B, T, 50]
    return _score_model("quality_net", spectrogram, mask, x)


def l_1dcnn() -> keras.Model:
    """BLSTM -> 1-D CNN -> Dense 50 -> frame score (the L_1DCNN variant)."""
    spectrogram, mask = _inputs()
    x = _blstm(spectrogram, mask)  # [B, T, 200]
    x = _conv(x, mask)  # [B, T, 250]
    x = _dense(x)  # [B, T, 50]
    return _score_model("l_1dcnn", spectrogram, mask, x)


def l_att(energy: Literal["sigmoid", "linear"] = "sigmoid") -> keras.Model:
    """BLSTM -> additive self-attention -> Dense 50 -> frame score (the L_ATT variant).

    Args:
        energy: function on the energies of the attention: "sigmoid" as published, or "linear" for none.
    """
    spectrogram, mask = _inputs()
    x = _blstm(spectrogram, mask)  # [B, T, 200]
    x = _attention(x, mask, energy)  # [B, T, 200]
    x = _dense(x)  # [B, T, 50]
    return _score_model("l_att" + NAME_SUFFIX[energy], spectrogram, mask, x)


def lc_att(energy: Literal["sigmoid", "linear"] = "sigmoid") -> keras.Model:
    """BLSTM -> 1-D CNN -> additive self-attention -> Dense 50 -> frame score (the LC_ATT variant).

    Args:
        energy: as for `l_att`.
    """
    spectrogram, mask = _inputs()
    x = _blstm(spectrogram, mask)  # [B, T, 200]
    x = _conv(x, mask)  # [B, T, 250]
    x = _attention(x, mask, energy)  # [B, T, 250]
    x = _dense(x)  # [B, T, 50]
    return _score_model("lc_att" + NAME_SUFFIX[energy], spectrogram, mask, x)


def disturbance_net() -> keras.Model:
    """Two small convolutions -> Dense 100 -> BLSTM -> Dense 50 -> disturbance -> frame score (not a published network).

    It predicts the disturbance of each frame, as P.862 defines it (`pooling`). The frame score is that disturbance, mapped
    to MOS-LQO. The score is the norm of all disturbances, mapped likewise. The convolutions share weights over the
    frequencies, so that the score depends less on the spectral balance of a recording.
    """
    spectrogram, mask = _inputs()
    x = _dense(_disturbance_trunk(spectrogram, mask))  # [B, T, 50]
    x = layers.Dense(1, activation="softplus", name="disturbance")(x)  # [B, T, 1], points of PESQ's raw score
    return _disturbance_model("disturbance_net", spectrogram, mask, ops.squeeze(x, axis=-1))


def diagnostic_net() -> keras.Model:
    """Two strided convolutions -> Dense -> BLSTM at half the frame rate -> heads for disturbance and diagnosis of each frame.

    It is `disturbance_net` with the values of `diagnosis.FRAME_VALUES` as a second output. The recurrence takes most of the
    time, so it runs on one step for two frames (32 ms); the heads give two frames for each step.
    """
    spectrogram, mask = _inputs()
    step_mask = mask[:, ::2]  # [B, S], S = ceil(T / 2)
    x = EvenFrames(name="even_frames")(_scaled(spectrogram, mask))[..., None]  # [B, 2 S, 257, 1]
    x = layers.Conv2D(8, (4, 8), strides=(2, 4), padding="same", activation="relu", name="conv_1")(x)  # [B, S, 65, 8]
    x = _zero_padding(x, step_mask)
    x = layers.Conv2D(16, (3, 5), strides=(1, 4), padding="same", activation="relu", name="conv_2")(x)  # [B, S, 17, 16]
    x = layers.Reshape((-1, 17 * 16))(x)
    x = layers.Dense(96, activation="relu", name="bottleneck")(x)  # [B, S, 96]
    x = layers.Dropout(0.2)(x)
    x = _blstm(x, step_mask, units=88)  # [B, S, 176]
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(2 * 40, activation="elu", name="dense")(x)  # [B, S, 80]
    x = TwoFramesPerStep(name="frames")(x, mask)  # [B, T, 40]
    disturbance = layers.Dense(1, activation="softplus", name="disturbance")(x)  # [B, T, 1]
    raw = layers.Dense(len(FRAME_VALUES), name=RAW_DIAGNOSIS)(x)  # [B, T, 15]
    return _disturbance_model(
        "diagnostic_net", spectrogram, mask, ops.squeeze(disturbance, axis=-1), diagnosis=diagnosis_of(raw)
    )


def diagnostic_net_16ms() -> keras.Model:
    """`disturbance_net` with a second Dense layer after its BLSTM, whose outputs are the diagnosis of each frame.

    Its recurrence has a step for each frame (16 ms). A training can start with the weights of `disturbance_net`.
    """
    spectrogram, mask = _inputs()
    x = _disturbance_trunk(spectrogram, mask)  # [B, T, 200]
    disturbance = layers.Dense(1, activation="softplus", name="disturbance")(_dense(x))  # [B, T, 1]
    causes = layers.Dense(CAUSE_UNITS, activation="elu", name="cause_dense")(x)  # [B, T, 64]
    raw = layers.Dense(len(FRAME_VALUES), name=RAW_DIAGNOSIS)(causes)  # [B, T, 15]
    return _disturbance_model(
        "diagnostic_net_16ms", spectrogram, mask, ops.squeeze(disturbance, axis=-1), diagnosis=diagnosis_of(raw)
    )


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "quality_net": quality_net,
    "l_1dcnn": l_1dcnn,
    "l_att": l_att,
    "lc_att": lc_att,
    "disturbance_net": disturbance_net,
    "diagnostic_net": diagnostic_net,
    "diagnostic_net_16ms": diagnostic_net_16ms,
    "l_att_linear": lambda: l_att("linear"),
    "lc_att_linear": lambda: lc_att("linear"),
}


def diagnosis_of(raw: tf.Tensor) -> tf.Tensor:
    """Maps the output of the layer `RAW_DIAGNOSIS` to `FRAME_VALUES`: float32 [B, T, 15] -> the same.

    Speech and causes are logits. SNR and C50 are in units of 10 dB about 20 dB, so that the weights of all outputs have a
    similar size. Ratings are logits of the range from 1 to 5.
    """
    levels, ratings = 1 + len(HEARD_CAUSES), len(FRAME_VALUES) - len(RATINGS)
    return ops.concatenate(
        [
            ops.sigmoid(raw[..., :levels]),
            MEAN_DB + DB_UNIT * raw[..., levels:ratings],
            1.0 + 4.0 * ops.sigmoid(raw[..., ratings:]),
        ],
        axis=-1,
    )


def masked_mean(x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean of x [B, T] over the frames where mask [B, T] is true: [B]."""
    weight = ops.cast(mask, "float32")
    return ops.sum(x * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1.0)


def masked_pesq_norm(x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Computes `pooling.pesq_norm` of x [B, T], x >= 0, over the frames where mask [B, T] is true: [B]."""
    weight = ops.cast(mask, "float32")

    def window_means(values: tf.Tensor) -> tf.Tensor:  # [B, ceil(T / 10)]; the last windows include padding
        padded = ops.pad(values, [[0, 0], [0, 2 * HALF_WINDOW - 1]])[..., None]
        return ops.squeeze(ops.average_pool(padded, 2 * HALF_WINDOW, HALF_WINDOW), axis=-1)

    share = window_means(weight)
    windows = window_means(ops.power(x, WINDOW_POWER) * weight) / ops.maximum(share, TINY)
    real = ops.cast(share > 0, "float32")
    # The slope of the root is infinite at 0; TINY keeps the gradient finite.
    squares = ops.power(windows + TINY, 2 / WINDOW_POWER) * real
    return ops.sqrt(ops.sum(squares, axis=1) / ops.maximum(ops.sum(real, axis=1), 1.0))


def _inputs() -> tuple[keras.KerasTensor, keras.KerasTensor]:
    return (
        keras.Input((None, NUM_BINS), name="spectrogram", dtype="float32"),
        keras.Input((None,), name="mask", dtype="bool"),
    )


def _scaled(spectrogram: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Scales the log-magnitude, from about -7 (the floor) to 3 (loud speech), to about -2 to 3; zeros at padding."""
    return _zero_padding((spectrogram + 3.0) / 2.0, mask)


def _blstm(
    x: keras.KerasTensor, mask: keras.KerasTensor, forget_bias: float = 1.0, units: int = LSTM_UNITS
) -> keras.KerasTensor:
    lstm = FusedLSTM(units, return_sequences=True, unit_forget_bias=False, bias_initializer=ForgetBias(forget_bias))
    return layers.Bidirectional(lstm, name="blstm")(x, mask=mask)


def _conv(x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Conv1D(CONV_FILTERS, CONV_WIDTH, padding="same", activation="relu", name="conv")(
        _zero_padding(x, mask)
    )


def _disturbance_trunk(spectrogram: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the states of the recurrence of `disturbance_net` [B, T, 200]."""
    x = _scaled(spectrogram, mask)[..., None]  # [B, T, 257, 1]
    x = layers.Conv2D(12, (3, 5), strides=(1, 3), padding="same", activation="relu", name="conv_1")(x)  # [B, T, 86, 12]
    x = _zero_padding(x, mask)
    x = layers.Conv2D(16, (3, 5), strides=(1, 3), padding="same", activation="relu", name="conv_2")(x)  # [B, T, 29, 16]
    x = layers.Reshape((-1, 29 * 16))(x)
    x = layers.Dense(100, activation="relu", name="bottleneck")(x)  # [B, T, 100]
    x = layers.Dropout(0.2)(x)
    x = _blstm(x, mask)  # [B, T, 200]
    return layers.Dropout(0.2)(x)


def _zero_padding(x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Sets the padding of x [B, T, ...] to 0, so that a convolution reads the same values past the end in every batch."""
    return x * ops.expand_dims(ops.cast(mask, "float32"), tuple(range(2, x.ndim)))


def _attention(
    x: keras.KerasTensor, mask: keras.KerasTensor, energy: Literal["sigmoid", "linear"]
) -> keras.KerasTensor:
    return AdditiveAttention(ATTENTION_UNITS, energy, name="attention")(x, mask=mask)


def _dense(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Dense(DENSE_UNITS, activation="elu", name="dense")(x)


@keras.saving.register_keras_serializable("audiosieve")
class ForgetBias(keras.initializers.Initializer):
    """Sets the bias of the forget gates of an LSTM to `value` and the others to 0 (order: input, forget, cell, output)."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        """Returns the bias [4 x units]."""
        gate = tf.repeat(tf.constant([0.0, self.value, 0.0, 0.0], dtype or "float32"), shape[0] // 4)
        return tf.reshape(gate, shape)

    def get_config(self) -> dict[str, float]:
        """Returns the arguments of the constructor."""
        return {"value": self.value}


def _score_model(
    name: str, spectrogram: keras.KerasTensor, mask: keras.KerasTensor, x: keras.KerasTensor
) -> keras.Model:
    x = layers.Dense(1, name="frame_score")(x)  # [B, T, 1]
    frame_score = ops.squeeze(x, axis=-1)  # [B, T]
    return keras.Model(
        {"spectrogram": spectrogram, "mask": mask},
        {"frame_score": frame_score, "score": masked_mean(frame_score, mask)},
        name=name,
    )


def _disturbance_model(
    name: str,
    spectrogram: keras.KerasTensor,
    mask: keras.KerasTensor,
    disturbance: keras.KerasTensor,
    **others: keras.KerasTensor,
) -> keras.Model:
    """Returns a network whose scores are those of the disturbance of each frame [B, T], in points of PESQ's raw score."""
    scores = {"frame_score": mos(disturbance, ops.exp), "score": mos(masked_pesq_norm(disturbance, mask), ops.exp)}
    return keras.Model({"spectrogram": spectrogram, "mask": mask}, {**scores, **others}, name=name)
