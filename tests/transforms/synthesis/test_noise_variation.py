"""Varied noises have the requested length, are reproducible, and change as their parameters say."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.synthesis.noise_variation import NoiseVariation, Pulses, Ring, draw_noise_variation
from transforms.synthesis.speech_variation import EQUALIZER_HZ, Equalizer

FLAT = Equalizer((0.0,) * len(EQUALIZER_HZ))
NOISES = [draw_noise_variation(np.random.default_rng(seed)) for seed in range(200)]


def tone(frequency_hz: float, length: int) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(length) / 16_000).astype(np.float32)


@pytest.mark.parametrize("length", [1, 600, 16_000, 50_001])
@pytest.mark.parametrize("seed", range(12))
def test_a_varied_noise_has_the_requested_length_and_is_reproducible(length, seed):
    variation = NOISES[seed]
    noise = np.random.default_rng(0).normal(0, 0.1, variation.samples_needed(length)).astype(np.float32)
    varied = variation.apply(noise, length)
    assert varied.shape == (length,)
    assert varied.dtype == np.float32
    assert np.isfinite(varied).all()
    assert np.array_equal(varied, variation.apply(noise, length))
    assert varied.any() or length == 1


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_a_noise_at_another_speed_has_another_pitch(speed):
    variation = NoiseVariation(speed, backwards=False, equalizer=FLAT)
    varied = variation.apply(tone(1_000, variation.samples_needed(16_000)), 16_000)
    peak = np.argmax(np.abs(np.fft.rfft(varied * np.hanning(len(varied)))))  # 1 Hz a bin
    assert peak == pytest.approx(1_000 * speed, abs=3)


def test_a_reversed_noise_ends_with_its_beginning():
    noise = np.linspace(1.0, 0.0, 16_001, dtype=np.float32) * tone(1_000, 16_001)
    forwards, backwards = (NoiseVariation(1.0, is_reversed, FLAT).apply(noise, 16_000) for is_reversed in (False, True))
    assert np.abs(forwards[:4_000]).max() > 2 * np.abs(forwards[-4_000:]).max()
    assert backwards == pytest.approx(forwards[::-1], abs=1e-2)


def test_noise_variations_are_drawn_within_their_bounds():
    speeds = np.array([variation.speed for variation in NOISES])
    assert speeds.min() >= 0.5
    assert speeds.max() <= 2.0
    assert 0.35 < np.mean(speeds < 1) < 0.65
    assert 0.2 < np.mean([variation.backwards for variation in NOISES]) < 0.5
    assert len({variation.equalizer.gains_db for variation in NOISES}) == len(NOISES)
    assert 0.15 < np.mean([variation.pulses is not None for variation in NOISES]) < 0.45
    assert 0.1 < np.mean([variation.ring is not None for variation in NOISES]) < 0.4


def test_regular_pulses_have_their_rate_and_decay():
    pulses = Pulses(rate_hz=4.0, regular=True, decay_s=0.01, seed=1)
    envelope = pulses.apply(np.ones(64_000, np.float32))
    starts = np.flatnonzero(np.diff(envelope, prepend=0) > 0.1)
    assert np.diff(starts) == pytest.approx(4_000, abs=1)
    assert len(starts) in (15, 16)
    first = starts[0]
    assert envelope[first + 160] / envelope[first] == pytest.approx(np.exp(-1), rel=1e-3)  # 10 ms later
    assert np.median(envelope) < 1e-3


def test_random_pulses_have_the_same_rate_and_irregular_gaps():
    regular, random = (
        Pulses(10.0, is_regular, 0.002, seed=3).apply(np.ones(320_000, np.float32)) for is_regular in (True, False)
    )
    starts = [np.flatnonzero(np.diff(envelope, prepend=0) > 0.1) for envelope in (regular, random)]
    assert len(starts[1]) == pytest.approx(len(starts[0]), rel=0.3)
    assert np.diff(starts[1]).std() > 50 * np.diff(starts[0]).std()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("length", [10, 4_000])
def test_at_least_one_pulse_is_audible(seed, length):
    assert Pulses(0.7, bool(seed % 2), 0.01, seed).apply(np.ones(length, np.float32)).any()


def test_a_ring_has_its_energy_at_its_frequencies():
    noise = np.random.default_rng(0).normal(size=32_000).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(Ring(((1_000.0, 1.0, 0.5), (3_000.0, 1.0, 0.5))).apply(noise)))
    energy = np.square(spectrum)
    near = sum(energy[2 * (hz - 30) : 2 * (hz + 30)].sum() for hz in (1_000, 3_000))  # 0.5 Hz a bin
    assert near > 0.9 * energy.sum()


def test_the_detail_names_every_step():
    variation = NoiseVariation(0.5, True, FLAT, Pulses(2.0, False, 0.05, 0), Ring(((440.0, 1.0, 0.1),)))
    for words in ("0.50 times as fast", "backwards", "equalizer", "random pulses, 2.0 a second", "ringing at 440 Hz"):
        assert words in variation.detail
