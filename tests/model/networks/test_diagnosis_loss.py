"""The loss of a diagnosis: only known labels of real frames count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.diagnosis import FRAME_VALUES
from model.networks.architectures import diagnosis_of
from model.networks.diagnosis_loss import AT_LEAST_WEIGHT, HeadWeights, diagnosis_loss
from model.networks.losses import frames_loss

LENGTHS = [9, 4, 6]
FRAMES = max(LENGTHS)
MASK = np.arange(FRAMES) < np.array(LENGTHS)[:, np.newaxis]
WIDTH = len(FRAME_VALUES)
SNR, C50 = FRAME_VALUES.index("snr_db"), FRAME_VALUES.index("c50_db")
NO_HEADS = HeadWeights(0.0, 0.0, 0.0, 0.0)


def labels(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    made = {
        "score": rng.uniform(1, 4.6, 3),
        "frame_score": rng.uniform(1, 4.6, (3, FRAMES)),
        "speech": rng.integers(0, 2, (3, FRAMES)),
        "causes": rng.integers(-1, 2, (3, FRAMES, 9)),
        "levels_db": rng.uniform(0, 24, (3, 2)),
        "ratings": rng.uniform(1, 5, (3, 3)),
    }
    made["speech"][:, 0] = 1
    made.update(changes)
    integers = ("speech", "causes")
    return {name: tf.constant(value, tf.int8 if name in integers else tf.float32) for name, value in made.items()}


def unknown() -> dict[str, Any]:
    return labels(
        score=np.full(3, np.nan),
        speech=np.full((3, FRAMES), -1),
        causes=np.full((3, FRAMES, 9), -1),
        levels_db=np.full((3, 2), np.nan),
        ratings=np.full((3, 3), np.nan),
    )


def predictions(seed: int = 0) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(seed)
    shapes = ((3,), (3, FRAMES), (3, FRAMES, WIDTH))
    score, frame_score, raw = (tf.constant(rng.normal(0, 1, shape), tf.float32) for shape in shapes)
    return score, frame_score, raw


def loss(label: dict[str, Any], outputs: tuple[tf.Tensor, ...], **changes: Any) -> float:
    return float(diagnosis_loss(label, *outputs, tf.constant(MASK), **changes))


def test_without_heads_it_is_the_loss_of_the_frames() -> None:
    label, outputs = labels(), predictions()
    expected = frames_loss(label["score"], label["frame_score"], *outputs[:2], tf.constant(MASK))
    assert loss(label, outputs, weights=NO_HEADS) == pytest.approx(float(expected), rel=1e-5)


def test_the_heads_equal_their_transcription() -> None:
    label, outputs = labels(), predictions()
    values, weights = diagnosis_of(outputs[2]).numpy(), HeadWeights(0.7, 0.3, 0.4, 0.5)
    expected = 0.0
    for b, length in enumerate(LENGTHS):
        for head in range(10):
            truths = label["causes"][b, :, head - 1] if head else label["speech"][b]
            known = [t for t in range(length) if truths[t] >= 0]
            errors = [-np.log(values[b, t, head] if truths[t] else 1 - values[b, t, head]) for t in known]
            expected += (weights.causes if head else weights.speech) * (np.mean(errors) if errors else 0.0)
        speaks = [t for t in range(length) if label["speech"][b, t] == 1]
        snr_db = -10 * np.log10(np.mean(10 ** (-values[b, speaks, SNR] / 10)))
        for n, level_db in enumerate((snr_db, values[b, speaks, C50].mean())):
            error = (level_db - float(label["levels_db"][b, n])) / 10
            expected += weights.levels * (np.hypot(error, 0.1) - 0.1)
        ratings = values[b, :length, -3:].mean(axis=0)
        expected += weights.ratings * np.sum((ratings - label["ratings"][b]) ** 2)
    heads = loss(label, outputs, weights=weights) - loss(label, outputs, weights=NO_HEADS)
    assert heads == pytest.approx(expected / 3, rel=1e-4)


def test_a_batch_without_labels_has_no_loss_and_a_finite_gradient() -> None:
    outputs = predictions()
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = diagnosis_loss(unknown(), *outputs, tf.constant(MASK))
    assert float(value) == pytest.approx(0.0, abs=1e-6)
    assert all(not np.any(gradient.numpy()) for gradient in tape.gradient(value, outputs))


def test_the_padding_has_no_gradient() -> None:
    outputs = predictions()
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = diagnosis_loss(labels(), *outputs, tf.constant(MASK))
    _, *of_frames = tape.gradient(value, outputs)
    for gradient in of_frames:
        assert np.isfinite(gradient).all()
        assert not np.any(gradient.numpy()[~MASK])
        assert np.any(gradient.numpy()[MASK])


@pytest.mark.parametrize(
    ("level", "highest_db", "raw", "has_loss"),
    [(0, 40.0, 1.0, True), (0, 40.0, 2.0, False), (0, 40.0, 5.0, False), (1, 25.0, 0.4, True), (1, 25.0, 0.5, False)],
)
def test_a_clip_without_noise_or_room_needs_at_least_the_highest_level(
    level: int, highest_db: float, raw: float, has_loss: bool
) -> None:
    levels = np.full((3, 2), np.nan)
    levels[:, level] = highest_db
    label = {**unknown(), **{name: labels(levels_db=levels)[name] for name in ("speech", "levels_db")}}
    score, frame_score, _ = predictions()
    outputs = (score, frame_score, tf.fill((3, FRAMES, WIDTH), raw))  # 20 dB + 10 dB for each 1
    assert (loss(label, outputs, weights=HeadWeights(speech=0.0)) > 1e-6) == has_loss


def test_a_bound_weighs_less_than_a_known_level() -> None:
    speech = labels()["speech"]
    score, frame_score, _ = predictions()
    outputs = (score, frame_score, tf.fill((3, FRAMES, WIDTH), 0.0))  # SNR and C50 of 20 dB
    found = []
    for levels_db in ((39.999, 24.999), (40.0, 25.0)):
        levels = np.full((3, 2), levels_db, np.float32)
        found.append(
            loss({**unknown(), "speech": speech, "levels_db": levels}, outputs, weights=HeadWeights(speech=0.0))
        )
    assert found[1] == pytest.approx(AT_LEAST_WEIGHT * found[0], rel=1e-2)
    assert AT_LEAST_WEIGHT < 1
