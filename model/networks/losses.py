"""The losses: utterance error plus frame error.

The published ones hold all frames to the label of their utterance, weighted by how good it is; our own holds each
frame to its own truth.
"""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from model.networks.architectures import masked_mean

LossName = Literal["weighted", "unweighted", "frames"]


def frame_weight(label: tf.Tensor, anchor: float) -> tf.Tensor:
    """Weight of an utterance's frame error: 10^(label - anchor), [B] for labels [B].

    Quality-Net (Fu et al., Interspeech 2018), eq. 2, with anchor 4.5 on the PESQ scale. In a good recording every
    frame is good, so its frames may be held to the label; in a bad one the frames differ, so they are hardly held to
    anything.
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
    """Mean over the batch of (Q - q)^2 + w / T * sum over t of (Q - q_t)^2.

    Quality-Net, eq. 1: w is `frame_weight` for "weighted" and 1 for "unweighted".

    Args:
        label: true quality Q [B].
        score: predicted quality q [B].
        frame_score: predicted frame quality q_t [B, T].
        mask: true at real frames [B, T]; padding adds nothing and T counts real frames only.
        name: "weighted" or "unweighted".
        anchor: label at which the weight is 1.

    Returns:
        Scalar.
    """
    weight = frame_weight(label, anchor) if name == "weighted" else tf.ones_like(label)
    frame_error = masked_mean(tf.square(label[:, tf.newaxis] - frame_score), mask)
    return tf.reduce_mean(tf.square(label - score) + weight * frame_error)


def frames_loss(
    label: tf.Tensor, frame_label: tf.Tensor, score: tf.Tensor, frame_score: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """Mean over the batch of (Q - q)^2 + 1 / T * sum over t of (Q_t - q_t)^2.

    Args:
        label: true quality Q [B].
        frame_label: true quality Q_t of each frame [B, T] (`pooling.frame_truth`).
        score: predicted quality q [B].
        frame_score: predicted frame quality q_t [B, T].
        mask: true at real frames [B, T]; padding adds nothing and T counts real frames only.

    Returns:
        Scalar.
    """
    return tf.reduce_mean(tf.square(label - score) + masked_mean(tf.square(frame_label - frame_score), mask))
