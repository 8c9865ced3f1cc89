"""Losses against the published formula, written out with loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.labels import PESQ_WB, PSEUDO, LabelScale
from model.networks.architectures import masked_mean
from model.networks.losses import frame_weight, quality_loss

quick = settings(deadline=None, max_examples=40)


# Label at which the frame error has weight 1: 4.5 for PESQ as published, and the best pseudo-score.
PUBLISHED_ANCHORS = {PESQ_WB: 4.5, PSEUDO: 8.0}
scales = pytest.mark.parametrize("scale", PUBLISHED_ANCHORS, ids=lambda scale: scale.name)
names = pytest.mark.parametrize("name", ["weighted", "unweighted"])


def transcribed(label, score, frame_score, lengths, *, name: str, anchor: float) -> float:
    """Computes the mean over n of (Q - q)^2 + w(Q) / T_n * sum over t of (Q - q_t)^2, in double precision.

    Quality-Net (Fu et al., Interspeech 2018), eq. 1 and 2: w(Q) = 10^(Q - Q_max), Q_max = 4.5 for PESQ.
    """
    total = 0.0
    for n in range(len(label)):
        weight = 10 ** (float(label[n]) - anchor) if name == "weighted" else 1.0
        frames = 0.0
        for t in range(lengths[n]):
            frames += (float(label[n]) - float(frame_score[n, t])) ** 2
        total += (float(label[n]) - float(score[n])) ** 2 + weight / lengths[n] * frames
    return total / len(label)


@st.composite
def batches(draw: st.DrawFn, scale: LabelScale = PESQ_WB):
    """Draws labels, scores, frame scores (random in the padding) and mask of a ragged batch."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    padding = draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    mask = np.arange(max(lengths) + padding) < np.array(lengths)[:, np.newaxis]
    label = rng.uniform(scale.low, scale.high, len(lengths)).astype(np.float32)
    score = rng.uniform(scale.low - 1, scale.high + 1, len(lengths)).astype(np.float32)
    frame_score = rng.uniform(scale.low - 1, scale.high + 1, mask.shape).astype(np.float32)
    return label, score, frame_score, mask


@scales
def test_every_scale_has_the_published_anchor(scale: LabelScale) -> None:
    assert scale.anchor == PUBLISHED_ANCHORS[scale]


@names
@scales
@given(data=st.data())
@quick
def test_the_loss_of_a_ragged_batch_equals_its_transcription(data, scale: LabelScale, name: str) -> None:
    label, score, frame_score, mask = data.draw(batches(scale))
    loss = quality_loss(label, score, frame_score, mask, name=name, anchor=scale.anchor)
    anchor = PUBLISHED_ANCHORS[scale]
    expected = transcribed(label, score, frame_score, mask.sum(axis=1), name=name, anchor=anchor)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


@names
@scales
@given(data=st.data(), garbage=st.sampled_from([-1e4, 1e4]))
@quick
def test_values_in_the_padding_do_not_change_the_loss(data, scale: LabelScale, name: str, garbage: float) -> None:
    label, score, frame_score, mask = data.draw(batches(scale))
    losses = [
        float(quality_loss(label, score, np.where(mask, frame_score, fill), mask, name=name, anchor=scale.anchor))
        for fill in (np.float32(0), np.float32(garbage))
    ]
    assert losses[0] == losses[1]


def test_the_padding_has_no_gradient() -> None:
    mask = np.array([[True, True, False], [True, False, False]])
    frame_score = tf.Variable(np.full((2, 3), 2.0, np.float32))
    with tf.GradientTape() as tape:
        loss = quality_loss(
            tf.constant([4.0, 3.0]), tf.constant([3.0, 3.0]), frame_score, mask, name="weighted", anchor=4.5
        )
    gradient = tape.gradient(loss, frame_score).numpy()
    assert ((gradient != 0) == mask).all()


def test_more_padding_does_not_change_the_loss() -> None:
    rng = np.random.default_rng(0)
    label, score = np.array([2.0, 4.0], np.float32), np.array([2.5, 3.0], np.float32)
    frame_score = rng.uniform(1, 4, (2, 6)).astype(np.float32)
    mask = np.arange(6) < np.array([[6], [4]])
    wider = [np.pad(array, [(0, 0), (0, 20)]) for array in (frame_score, mask)]
    arguments = {"name": "weighted", "anchor": 4.5}
    assert float(quality_loss(label, score, *wider, **arguments)) == pytest.approx(
        float(quality_loss(label, score, frame_score, mask, **arguments)), rel=1e-6
    )


def test_perfect_scores_have_no_loss() -> None:
    label = np.array([1.5, 4.5], np.float32)
    frame_score = np.repeat(label[:, np.newaxis], 3, axis=1)
    assert float(quality_loss(label, label, frame_score, np.ones((2, 3), bool), name="weighted", anchor=4.5)) == 0.0


@pytest.mark.parametrize(("label", "weight"), [(4.5, 1.0), (3.5, 0.1), (2.5, 0.01), (1.0, 10**-3.5), (4.64, 10**0.14)])
def test_the_weight_on_the_pesq_scale_is_10_to_the_power_of_the_label_minus_4_5(label: float, weight: float) -> None:
    assert frame_weight(tf.constant([label]), PESQ_WB.anchor).numpy() == pytest.approx([weight], rel=1e-5)


def test_the_weight_on_the_pseudo_scale_is_1_for_clean_speech() -> None:
    assert frame_weight(tf.constant([8.0, 7.0]), PSEUDO.anchor).numpy() == pytest.approx([1.0, 0.1])


def test_weighted_and_unweighted_agree_at_the_anchor_and_differ_below_it() -> None:
    def loss(label: float, name: str) -> float:
        score, frame_score, mask = tf.constant([1.0]), tf.zeros((1, 4)), tf.ones((1, 4), bool)
        return float(quality_loss(tf.constant([label]), score, frame_score, mask, name=name, anchor=4.5))

    assert loss(4.5, "weighted") == pytest.approx(loss(4.5, "unweighted"))
    assert loss(2.0, "weighted") < loss(2.0, "unweighted")


def test_the_masked_mean_is_the_mean_of_the_real_frames() -> None:
    x = np.array([[1.0, 2.0, 100.0], [5.0, 7.0, 9.0]], np.float32)
    mask = np.array([[True, True, False], [True, True, True]])
    assert masked_mean(x, mask).numpy() == pytest.approx([1.5, 7.0])


def test_the_masked_mean_of_a_row_without_real_frames_is_0() -> None:
    assert masked_mean(np.ones((1, 3), np.float32), np.zeros((1, 3), bool)).numpy() == [0.0]
