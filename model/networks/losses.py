"""The losses: error of the utterance score plus error of the frame scores.

The published losses compare all frames with the label of their utterance, weighted by the label. The loss "frames" compares
each frame with its own label. The loss "diagnosis" adds the heads of a diagnosis (`diagnosis_loss`).
"""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from model.networks.architectures import masked_mean

LossName = Literal["weighted", "unweighted", "frames", "diagnosis"]


def frame_weight(label: tf.Tensor, anchor: float) -> tf.Tensor:
    """Returns the weight of the frame error of each utterance: 10^(label - anchor), [B] for labels [B].

    This is eq. 2 of Quality-Net (Fu et al., Interspeech 2018), with the anchor 4.5 on the PESQ scale. In a good recording every
    frame is good, so the label fits all frames. In a bad recording the frames differ, so the weight is small.
    """
    return tf.pow(10.0, label - anchor)


def quality_loss(
    label: tf.Tensor,
    score: tf.Tensor,
    frame_score: tf.Tensor,
    mask: tf.Tensor,
    *,
    name: Literal["weighted", "unweighted"],
    anchor: float,
) -> tf.Tensor:
    """Returns the mean over the batch of (Q - q)^2 + w / T * sum over t of (Q - q_t)^2.

    This is eq. 1 of Quality-Net. The weight w is `frame_weight` for "weighted" and 1 for "unweighted".

    Args:
        label: true quality Q [B].
        score: predicted quality q [B].
        frame_score: predicted frame quality q_t [B, T].
        mask: true at real frames [B, T]; T counts the real frames.
        name: "weighted" or "unweighted".
        anchor: label at which the weight is 1.

    Returns:
        Scalar loss.
    """
    weight = frame_weight(label, anchor) if name == "weighted" else tf.ones_like(label)
    frame_error = masked_mean(tf.square(label[:, tf.newaxis] - frame_score), mask)
    return tf.reduce_mean(tf.square(label - score) + weight * frame_error)


def frames_loss(
    label: tf.Tensor, frame_label: tf.Tensor, score: tf.Tensor, frame_score: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """Returns the mean over the batch of (Q - q)^2 + 1 / T * sum over t of (Q_t - q_t)^2.

    Args:
        label: true quality Q [B].
        frame_label: true quality Q_t of each frame [B, T] (`pooling.true_frame_scores`).
        score: predicted quality q [B].
        frame_score: predicted frame quality q_t [B, T].
        mask: true at real frames [B, T]; T counts the real frames.

    Returns:
        Scalar loss.
    """
    return tf.reduce_mean(tf.square(label - score) + masked_mean(tf.square(frame_label - frame_score), mask))
