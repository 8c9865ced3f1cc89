"""Recordings of a low rate that are raised by a poor interpolation have images above their band."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from model.features import SAMPLE_RATE
from tests.support.training.alignment import delay
from transforms.synthesis.degradations.kinds import LOW_RATES
from transforms.synthesis.degradations.upsampling import Interpolation, Upsampled

EACH = pytest.mark.parametrize(("rate", "interpolation"), [*itertools.product(LOW_RATES, Interpolation)])


def level_db(samples: np.ndarray, frequency: float) -> float:
    """Returns the level of a tone of an amplitude of 1.0 in dB, from samples of 1 s."""
    return 20 * np.log10(np.abs(np.fft.rfft(samples))[round(frequency)] / (SAMPLE_RATE / 2) + 1e-9)


@EACH
@pytest.mark.parametrize("aliased", [False, True])
def test_length_and_timing_are_kept(rate, interpolation, aliased, make_speech):
    speech = make_speech(2.0, seed=3)
    degraded = Upsampled(rate, interpolation, aliased).apply(speech).samples
    assert degraded.shape == speech.shape
    assert abs(delay(speech, degraded)) <= 1


@EACH
def test_a_tone_has_an_image_mirrored_at_the_low_rate(rate, interpolation):
    tone = np.sin(2 * np.pi * 1_200 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    degraded = Upsampled(rate, interpolation, aliased=False).apply(tone).samples
    assert level_db(degraded, 1_200) > -5
    assert level_db(degraded, rate - 1_200 if rate - 1_200 < 8_000 else 16_000 - rate + 1_200) > -45


def test_a_longer_filter_leaves_weaker_images():
    tone = np.sin(2 * np.pi * 500 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    images = [level_db(Upsampled(4_000, kind, aliased=False).apply(tone).samples, 3_500) for kind in Interpolation]
    assert images == sorted(images, reverse=True)
    assert images[0] - images[-1] > 20


def test_only_without_a_filter_high_frequencies_are_folded_into_the_band():
    tone = np.sin(2 * np.pi * 5_000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    levels = [level_db(Upsampled(8_000, Interpolation.LINEAR, on).apply(tone).samples, 3_000) for on in (False, True)]
    assert levels[0] < -60
    assert levels[1] > -6


@EACH
@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_recordings_keep_their_length(rate, interpolation, length):
    for aliased in (False, True):
        assert len(Upsampled(rate, interpolation, aliased).apply(np.ones(length, np.float32)).samples) == length
