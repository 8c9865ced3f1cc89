"""The disturbances of frames agree with the pesq package and follow the degradation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.evaluation.metrics import agreement
from model.features import num_frames
from model.labels import PESQ_WB
from tests.support.training.mixing import mix
from transforms.synthesis.labels.pesq_disturbance import frame_disturbances
from transforms.synthesis.labels.pesq_labels import pesq, pesq_installed

MakeSpeech = Callable[..., np.ndarray]


def noisy(speech: np.ndarray, snr_db: float | None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns speech and its mixture with noise, whose colour depends on the seed."""
    noise = np.random.default_rng(seed).normal(size=len(speech))
    for _ in range(seed % 3):
        noise = np.cumsum(noise) * 0.1 + noise
        noise -= np.convolve(noise, np.ones(200) / 200, mode="same")
    mixture = mix(speech, None if snr_db is None else noise, snr_db, -3.0)
    return mixture.reference, mixture.degraded


@pytest.mark.skipif(not pesq_installed(), reason="needs the extra `train`")
def test_the_score_of_the_frames_agrees_with_the_pesq_package(make_speech: MakeSpeech) -> None:
    labels, scores = [], []
    for number, snr_db in enumerate([-10, -5, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 35, 40, None] * 2):
        reference, degraded = noisy(make_speech(4.0 + number % 3, seed=number), snr_db, number)
        labels.append(pesq(reference, degraded, PESQ_WB))
        scores.append(frame_disturbances(reference, degraded).score)
    metrics = agreement(np.array(labels), np.array(scores))
    assert metrics["lcc"] > 0.995
    assert metrics["rmse"] < 0.12


@pytest.mark.parametrize("length", [512, 513, 4_000, 16_000, 100_001])
def test_every_frame_has_its_disturbances(make_speech: MakeSpeech, length: int) -> None:
    reference, degraded = noisy(make_speech(7.0)[:length], 10)
    frames = frame_disturbances(reference, degraded)
    for values in (frames.symmetric, frames.asymmetric):
        assert values.dtype == np.float32
        assert values.shape == (num_frames(length),)
        assert (values >= 0).all()
        assert (values <= 45).all()


def test_a_signal_is_undisturbed_against_itself(make_speech: MakeSpeech) -> None:
    speech = make_speech(3.0)
    frames = frame_disturbances(speech, speech)
    assert not frames.symmetric.any()
    assert not frames.asymmetric.any()
    assert frames.score == pytest.approx(4.644, abs=1e-3)


@pytest.mark.parametrize(("gain", "other"), [(0.01, 1.0), (1.0, 0.05), (3.0, 0.2)])
def test_levels_do_not_matter(make_speech: MakeSpeech, gain: float, other: float) -> None:
    reference, degraded = noisy(make_speech(3.0), 10)
    frames, scaled = frame_disturbances(reference, degraded), frame_disturbances(reference * gain, degraded * other)
    assert scaled.symmetric == pytest.approx(frames.symmetric, abs=1e-2)
    assert scaled.score == pytest.approx(frames.score, abs=1e-3)


def test_the_disturbance_is_where_the_noise_is(make_speech: MakeSpeech) -> None:
    speech = make_speech(6.0)
    degraded = speech.copy()
    degraded[32_000:48_000] += np.random.default_rng(1).normal(0, 0.05, 16_000)
    disturbance = frame_disturbances(speech, degraded).symmetric
    inside = slice(32_000 // 256, (48_000 - 512) // 256)
    outside = np.r_[0 : 32_000 // 256 - 2, 48_000 // 256 + 1 : len(disturbance)]
    assert np.median(disturbance[inside]) > 5 * np.median(disturbance[outside]) + 1


def test_more_noise_disturbs_more(make_speech: MakeSpeech) -> None:
    speech = make_speech(4.0)
    scores = [frame_disturbances(*noisy(speech, snr_db)).score for snr_db in (-10, 0, 10, 20, 30, 40)]
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > 2


def test_additions_count_more_than_losses_in_the_asymmetric_disturbance(make_speech: MakeSpeech) -> None:
    speech = make_speech(4.0)
    reference, degraded = noisy(speech, 5)
    added, removed = frame_disturbances(reference, degraded), frame_disturbances(degraded, reference)
    assert added.asymmetric.mean() > 3 * removed.asymmetric.mean()


@pytest.mark.parametrize("silent", ["reference", "degraded", "both"])
def test_silence_gives_finite_disturbances(make_speech: MakeSpeech, silent: str) -> None:
    speech = make_speech(1.0)
    silence = np.zeros_like(speech)
    frames = frame_disturbances(
        silence if silent != "degraded" else speech, silence if silent != "reference" else speech
    )
    assert np.isfinite(frames.symmetric).all()
    assert np.isfinite(frames.asymmetric).all()
    assert 0.99 < frames.score < 4.65
