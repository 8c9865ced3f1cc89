"""Noise suppression by a network, if the package with it is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import tests
from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.kinds import draw_degradations
from transforms.synthesis.degradations.rnnoise import denoise, rnnoise_installed
from transforms.synthesis.degradations.suppression import RNNOISE, RULES, Suppression, methods
from transforms.synthesis.rooms import Room

installed = pytest.mark.skipif(not rnnoise_installed(), reason="needs pyrnnoise")


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return soundfile.read(Path(tests.__file__).parent / "samples/audio/clean.flac", dtype="float32")[0]


@pytest.fixture(scope="module")
def noisy(clean: np.ndarray) -> np.ndarray:
    """Noise alone, and then speech in this noise at an SNR of 15 dB."""
    noise = np.random.default_rng(0).normal(0, np.sqrt(power(clean) / 30), 2 * len(clean)).astype(np.float32)
    noise[len(clean) :] += clean
    return noise


def power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def test_all_installed_methods_are_drawn() -> None:
    """Without the package, the draws are those of a version without the network."""
    rng = np.random.default_rng(0)
    drawn = set()
    for _ in range(100):
        (suppression,) = draw_degradations(
            rng,
            [("suppression", (0.0, 15.0))],
            1,
            lambda *_: Room((4.0, 4.0, 3.0), (1.0, 1.0, 1.0), (2.0, 2.0, 1.0), 0.5),
        )
        assert isinstance(suppression, Suppression)
        drawn.add(suppression.method)
    assert drawn == set(methods()) == {*RULES, *([RNNOISE] if rnnoise_installed() else [])}


@installed
def test_the_output_is_aligned_and_at_the_level_of_the_input(clean: np.ndarray) -> None:
    for gain in (1e-4, 1.0, 100.0):
        samples = clean * np.float32(gain)
        left = denoise(samples)
        assert (left.shape, left.dtype) == (samples.shape, np.float32)
        similarity = [float(np.dot(np.roll(left, shift), samples)) for shift in range(-40, 41)]
        assert int(np.argmax(similarity)) - 40 == 0
        assert 10 * np.log10(power(left) / power(samples)) == pytest.approx(0, abs=2.0)


@installed
@pytest.mark.parametrize("length", [1, 100, 511, 16_001])
def test_every_length_is_kept_and_the_result_is_always_the_same(clean: np.ndarray, length: int) -> None:
    samples = clean[8_000 : 8_000 + length]
    one, two = (Suppression(RNNOISE, 5.0, -20.0).apply(samples) for _ in range(2))
    assert one.samples.shape == (length,)
    assert one.spans == ((0, length),)
    np.testing.assert_array_equal(one.samples, two.samples)


@installed
def test_the_level_of_a_recording_does_not_change_the_gains(noisy: np.ndarray) -> None:
    suppression = Suppression(RNNOISE, 5.0, -25.0)
    louder = suppression.apply(noisy * np.float32(8)).samples / np.float32(8)
    np.testing.assert_allclose(louder, suppression.apply(noisy).samples, atol=1e-3 * np.abs(noisy).max())


@installed
def test_noise_falls_more_than_speech(noisy: np.ndarray) -> None:
    cleaned = Suppression(RNNOISE, 0.0, -30.0).apply(noisy).samples
    half = len(noisy) // 2
    # The network first learns how the noise sounds.
    pause, speech = slice(SAMPLE_RATE // 2, half - 1_000), slice(half, None)
    assert 10 * np.log10(power(cleaned[pause]) / power(noisy[pause])) < -10
    assert 10 * np.log10(power(cleaned[speech]) / power(noisy[speech])) > -4


@installed
def test_a_higher_overestimation_removes_more(noisy: np.ndarray) -> None:
    left = [power(Suppression(RNNOISE, excess_db, -40.0).apply(noisy).samples) for excess_db in (-3.0, 0.0, 6.0, 12.0)]
    assert left == sorted(left, reverse=True)
    assert 10 * np.log10(left[0] / left[-1]) > 1
