"""The published losses: utterance error plus frame error, the frames weighted by how good the recording is."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from model.networks import masked_mean

LossName = Literal["weighted", "unweighted"]


def frame_weight(label: tf.Tensor, anchor: float) -> tf.Tensor:
    """Weight of an utterance's frame error: 10^(label - anchor), [B] for labels [B].

    Quality-Net (Fu et al., Interspeech 2018), eq. 2, with anchor 4.5 on the PESQ scale. In a good recording every
    frame is good, so its frames may be held to the label; in a bad one the frames differ, so they are hardly held to
    anything.
    """
    return tf.pow(10.0, label - anchor)


def quality_loss(
    label: tf.Tensor, score: tf.Tensor, frame_score: tf.Tensor, mask: tf.Tensor, *, name: LossName, anchor: float
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
