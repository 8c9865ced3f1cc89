"""The loss of a network that gives a diagnosis: the error of the scores, and that of each head where its label is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import tensorflow as tf

from model.diagnosis import HEARD_CAUSES, HIGHEST_DB, RATINGS, SNR_RANGE_DB
from model.networks.architectures import DB_UNIT, TINY, diagnosis_of, masked_mean

# Error of SNR and C50 up to which their loss is a square, in units of `DB_UNIT`; it is linear beyond. 1 dB.
LEVEL_DELTA = 0.1
# Weight of clips whose SNR or C50 is only known to be high. Most clips have no room; with the weight 1, the network took all
# for such clips: its C50 was 39 dB for rooms of 0 to 15 dB. With 0.2 and few clips in a room, it was still 6 dB too high.
AT_LEAST_WEIGHT = 0.1
DB_PER_LOG = 10.0 / math.log(10.0)
_CAUSES = slice(1, 1 + len(HEARD_CAUSES))
_LEVELS = slice(_CAUSES.stop, -len(RATINGS))
_RATINGS = slice(-len(RATINGS), None)


@dataclasses.dataclass(frozen=True)
class HeadWeights:
    """Weights of the heads against the loss of the scores, whose weight is 1.

    The loss of the scores falls to about 0.5 in training. With these weights, each head adds 0.05 to 0.3 then, so that all
    are learned and none outweighs the scores.

    Attributes:
        speech: weight of the cross-entropy of speech, about 0.1.
        causes: weight of the sum of the cross-entropies of the causes, about 1.
        levels: weight of the errors of SNR and C50 in units of 10 dB, about 0.3 each where they are known.
        ratings: weight of the sum of the squared errors of the ratings, about 0.2.
    """

    speech: float = 0.5
    causes: float = 0.3
    levels: float = 0.8
    ratings: float = 0.5


WEIGHTS = HeadWeights()


def diagnosis_loss(
    label: Mapping[str, tf.Tensor],
    score: tf.Tensor,
    frame_score: tf.Tensor,
    raw: tf.Tensor,
    mask: tf.Tensor,
    weights: HeadWeights = WEIGHTS,
) -> tf.Tensor:
    """Returns the loss of a batch. Every known label counts the same, in whichever batch it is.

    Args:
        label: labels of the clips (`diagnosis_labels`), padded: [B, ...].
        score: predicted score [B].
        frame_score: predicted frame scores [B, T].
        raw: output of the layer `RAW_DIAGNOSIS` [B, T, 15].
        mask: true at real frames [B, T].
        weights: weights of the heads.

    Returns:
        Scalar loss.
    """
    values = diagnosis_of(raw)
    loss = (
        _score_loss(label, score, frame_score, mask)
        + weights.speech * _cross_entropy(label["speech"][..., tf.newaxis], raw[..., :1], mask)
        + weights.causes * _cross_entropy(label["causes"], raw[..., _CAUSES], mask)
        + weights.levels * _level_loss(label, values[..., _LEVELS], mask)
        + weights.ratings * _rating_loss(label["ratings"], values[..., _RATINGS], mask)
    )
    return tf.reduce_mean(loss)


def _score_loss(label: Mapping[str, tf.Tensor], score: tf.Tensor, frame_score: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the loss of `frames_loss` for each clip with a score, and 0 for the others: [B]."""
    known, true_score = _known(label["score"])
    frame_error = masked_mean(tf.square(label["frame_score"] - frame_score), mask)
    return known * (tf.square(true_score - score) + frame_error)


def _cross_entropy(truth: tf.Tensor, logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the sum over the heads of the mean cross-entropy over the frames with a known label.

    Args:
        truth: 1, 0, or -1 if unknown: int8 [B, T, K].
        logits: predictions [B, T, K].
        mask: true at real frames [B, T].

    Returns:
        Loss of each clip [B].
    """
    known = tf.cast(tf.logical_and(truth >= 0, mask[..., tf.newaxis]), tf.float32)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(tf.maximum(truth, 0), tf.float32), logits)
    counts = tf.reduce_sum(known, axis=1)
    return tf.reduce_sum(tf.reduce_sum(entropy * known, axis=1) / tf.maximum(counts, 1.0), axis=-1)


def _level_loss(label: Mapping[str, tf.Tensor], values_db: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the error of SNR and C50 over the frames with speech, pooled as in `Diagnosis.pool`, in units of `DB_UNIT`: [B].

    A label of `HIGHEST_DB` only asks for at least this value, with the weight `AT_LEAST_WEIGHT`.
    """
    known, true_db = _known(label["levels_db"])
    is_speech = tf.cast(tf.logical_and(label["speech"] > 0, mask), tf.float32)[..., tf.newaxis]
    has_speech = tf.cast(tf.reduce_any(is_speech > 0, axis=1), tf.float32)  # [B, 1]
    counts = tf.maximum(tf.reduce_sum(is_speech, axis=1), 1.0)  # [B, 1]
    noise = 10.0 ** (-tf.clip_by_value(values_db[..., :1], *SNR_RANGE_DB) / 10.0)
    snr_db = -DB_PER_LOG * tf.math.log(tf.reduce_sum(noise * is_speech, axis=1) / counts + TINY)
    c50_db = tf.reduce_sum(values_db[..., 1:] * is_speech, axis=1) / counts
    error = (tf.concat([snr_db, c50_db], axis=-1) - true_db) / DB_UNIT
    is_bound = true_db >= tuple(HIGHEST_DB.values())
    error = tf.where(is_bound, tf.minimum(error, 0.0), error)
    size = tf.sqrt(tf.square(error) + LEVEL_DELTA**2) - LEVEL_DELTA
    weight = known * tf.where(is_bound, AT_LEAST_WEIGHT, 1.0)
    return tf.reduce_sum(weight * size * has_speech, axis=-1)


def _rating_loss(ratings: tf.Tensor, values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the squared errors of the mean ratings over the real frames: [B]."""
    known, truth = _known(ratings)
    real = tf.cast(mask, tf.float32)[..., tf.newaxis]
    mean = tf.reduce_sum(values * real, axis=1) / tf.maximum(tf.reduce_sum(real, axis=1), 1.0)
    return tf.reduce_sum(known * tf.square(truth - mean), axis=-1)


def _known(label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns 1 where a label is known and 0 elsewhere, and the labels with 0 instead of NaN."""
    known = tf.math.is_finite(label)
    return tf.cast(known, tf.float32), tf.where(known, label, 0.0)
