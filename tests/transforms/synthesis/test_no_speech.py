"""Sounds without speech have their level and their pitch, and sound only in their spans."""

from __future__ import annotations

import numpy as np
import pytest

from model.features import SAMPLE_RATE
from transforms.synthesis.no_speech import NoiseFloor, Tones, draw_floor, draw_tones

LENGTH = 2 * SAMPLE_RATE


@pytest.mark.parametrize("slope_db", [-6.0, -3.0, 0.0])
def test_the_spectrum_of_a_noise_floor_falls_with_its_slope(slope_db):
    floor = NoiseFloor(slope_db, 1).make(4 * LENGTH)
    assert np.mean(np.square(floor)) == pytest.approx(1.0, rel=1e-4)
    spectrum = np.square(np.abs(np.fft.rfft(floor)))
    frequency = np.fft.rfftfreq(len(floor), 1 / SAMPLE_RATE)
    low, high = (10 * np.log10(spectrum[(frequency > f) & (frequency < 1.2 * f)].mean()) for f in (500.0, 4_000.0))
    assert (high - low) / 3 == pytest.approx(slope_db, abs=0.5)


def test_tones_have_their_frequencies_in_their_beeps_only():
    tones = Tones(NoiseFloor(0.0, 1), (440.0, 1_000.0), 50.0, ((0.25, 0.75), (1.5, 2.0)))
    samples = tones.make(LENGTH)
    spans = tones.spans(LENGTH)
    assert spans == ((4_000, 12_000), (24_000, 32_000))
    inside = samples[4_200:11_800]
    assert np.mean(np.square(inside)) == pytest.approx(1.0, rel=0.02)
    spectrum = np.abs(np.fft.rfft(inside * np.hanning(len(inside))))
    loudest = np.fft.rfftfreq(len(inside), 1 / SAMPLE_RATE)[np.argsort(spectrum)[-2:]]
    assert sorted(loudest.tolist()) == pytest.approx([440.0, 1_000.0], abs=2.5)
    assert 10 * np.log10(np.mean(np.square(samples[13_000:23_000]))) == pytest.approx(-50.0, abs=0.5)


def test_any_drawn_sound_can_be_made_and_is_not_silent():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        length = int(rng.integers(4_000, LENGTH))
        sound = draw_tones(rng, length / SAMPLE_RATE) if seed % 2 else draw_floor(rng)
        samples = sound.make(length)
        assert (samples.dtype, len(samples)) == (np.float32, length)
        assert np.isfinite(samples).all()
        assert samples.any()
        flat = [position for span in sound.spans(length) for position in span]
        assert flat == sorted(set(flat))
        assert flat[0] >= 0
        assert flat[-1] <= length
