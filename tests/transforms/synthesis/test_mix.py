"""Mixtures have the given SNR and peak, and fit into 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.training.mixing import mix
from transforms.synthesis.mix import MixError, blend, fit_length, gain_at, power, set_peak, stored_reference

STEP = 1 / 32_768
snrs = st.floats(-10, 40)
peaks = st.floats(-45, 0)
seeds = st.integers(0, 1_000)


def speech_and_noise(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    time = np.arange(8_000) / 16_000
    speech = np.sin(2 * np.pi * 200 * time) * np.abs(np.sin(2 * np.pi * 3 * time)) * rng.uniform(0.01, 1)
    noise = rng.normal(0, rng.uniform(0.001, 0.5), len(time)) + rng.uniform(-0.01, 0.01)
    return speech.astype(np.float32), noise.astype(np.float32)


def decibels(signal: np.ndarray, reference: np.ndarray) -> float:
    return 10 * float(np.log10(power(signal) / power(reference)))


class TestGain:
    @given(seed=seeds, snr_db=snrs)
    def test_the_scaled_sound_has_the_snr(self, seed, snr_db):
        speech, noise = speech_and_noise(seed)
        gain = gain_at(snr_db, power(speech), power(noise))
        assert decibels(speech, noise * gain) == pytest.approx(snr_db, abs=0.01)

    @pytest.mark.parametrize(("speech_power", "sound_power"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
    def test_silent_speech_or_sound_has_no_snr(self, speech_power, sound_power):
        with pytest.raises(MixError, match="silent"):
            gain_at(10.0, speech_power, sound_power)


class TestBlend:
    @given(seed=seeds, levels=st.lists(st.floats(-6, 6), min_size=1, max_size=3))
    def test_noises_have_the_given_levels_whatever_their_own(self, seed, levels):
        rng = np.random.default_rng(seed)
        noises = [rng.normal(0, rng.uniform(1e-3, 1.0), 500).astype(np.float32) for _ in levels]
        total = blend(noises, levels)
        shares, *_ = np.linalg.lstsq(np.stack(noises, axis=1).astype(np.float64), total.astype(np.float64), rcond=None)
        for noise, share, level in zip(noises, shares, levels, strict=True):
            assert 10 * np.log10(power(noise * share)) == pytest.approx(level, abs=0.01)

    def test_a_silent_noise_is_an_error(self):
        with pytest.raises(MixError, match="silent"):
            blend([np.ones(10, np.float32), np.zeros(10, np.float32)], [0.0, 0.0])


class TestMix:
    @given(seed=seeds, snr_db=snrs, peak_dbfs=st.floats(-18, 0))
    def test_the_mixture_has_the_given_snr(self, seed, snr_db, peak_dbfs):
        mixture = mix(*speech_and_noise(seed), snr_db, peak_dbfs)
        noise = mixture.degraded.astype(np.float64) - mixture.reference
        assert decibels(mixture.reference, noise) == pytest.approx(snr_db, abs=0.1)

    @given(seed=seeds, snr_db=st.none() | snrs, peak_dbfs=peaks)
    def test_the_mixture_has_the_given_peak(self, seed, snr_db, peak_dbfs):
        speech, noise = speech_and_noise(seed)
        mixture = mix(speech, None if snr_db is None else noise, snr_db, peak_dbfs)
        assert np.abs(mixture.degraded).max() == pytest.approx(10 ** (peak_dbfs / 20), abs=1.01 * STEP)

    @given(seed=seeds, snr_db=st.none() | snrs, peak_dbfs=peaks)
    def test_every_sample_fits_into_16_bits(self, seed, snr_db, peak_dbfs):
        degraded = mix(*speech_and_noise(seed), snr_db, peak_dbfs).degraded
        steps = degraded.astype(np.float64) / STEP
        assert degraded.dtype == np.float32
        assert np.array_equal(steps, np.round(steps))
        assert steps.min() >= -32_768
        assert steps.max() <= 32_767

    @given(seed=seeds, snr_db=snrs)
    def test_the_mixture_consists_of_the_given_speech_and_noise(self, seed, snr_db):
        speech, noise = speech_and_noise(seed)
        mixture = mix(speech, noise, snr_db, -1.0)
        added = mixture.degraded.astype(np.float64) - mixture.reference
        assert np.corrcoef(mixture.reference, speech)[0, 1] == pytest.approx(1.0, abs=1e-9)
        assert np.corrcoef(added, noise)[0, 1] > 0.99

    @given(seed=seeds, peak_dbfs=peaks)
    def test_a_clean_clip_equals_its_reference_up_to_rounding(self, seed, peak_dbfs):
        mixture = mix(speech_and_noise(seed)[0], None, None, peak_dbfs)
        assert np.abs(mixture.degraded - mixture.reference).max() <= 1.01 * STEP

    @pytest.mark.parametrize("gain", [1e-4, 1.0, 100.0])
    def test_the_level_of_the_speech_does_not_matter(self, gain):
        speech, noise = speech_and_noise(3)
        expected = mix(speech, noise, 5.0, -3.0)
        mixture = mix(speech * np.float32(gain), noise, 5.0, -3.0)
        assert np.abs(mixture.degraded - expected.degraded).max() <= 1.01 * STEP

    @pytest.mark.parametrize("samples", [1_000, 0])
    def test_silent_speech_is_an_error(self, samples):
        with pytest.raises(MixError, match="silent"):
            mix(np.zeros(samples, np.float32), None, None, -3.0)


class TestSetPeak:
    @given(seed=seeds, peak_dbfs=peaks)
    def test_reference_and_degraded_signal_get_the_same_gain(self, seed, peak_dbfs):
        speech, noise = speech_and_noise(seed)
        mixture = set_peak(speech, noise, peak_dbfs)
        gain = np.abs(mixture.reference).max() / np.abs(speech).max()
        np.testing.assert_allclose(mixture.degraded, noise * gain, atol=1.01 * STEP)  # 1.0 exceeds 16 bits

    def test_a_silent_signal_is_an_error(self):
        speech, _ = speech_and_noise(0)
        with pytest.raises(MixError, match="silent"):
            set_peak(speech, np.zeros_like(speech), -3.0)
        with pytest.raises(MixError, match="silent"):
            set_peak(np.zeros_like(speech), speech, -3.0)


@given(seed=seeds, snr_db=snrs, peak_dbfs=peaks)
def test_a_stored_reference_is_the_speech_at_minus_1_dbfs_in_16_bits(seed, snr_db, peak_dbfs):
    speech, noise = speech_and_noise(seed)
    stored = stored_reference(mix(speech, noise, snr_db, peak_dbfs))
    steps = stored.astype(np.float64) / STEP
    assert np.array_equal(steps, np.round(steps))
    np.testing.assert_allclose(stored, speech * 10 ** (-1 / 20) / np.abs(speech).max(), atol=0.6 * STEP)


class TestFitLength:
    @given(size=st.integers(1, 50), length=st.integers(0, 200), offset=st.integers(0, 49))
    def test_a_short_noise_is_repeated(self, size, length, offset):
        noise = np.arange(size, dtype=np.float32)
        assert fit_length(noise, length, offset).tolist() == [(offset + i) % size for i in range(length)]

    def test_a_long_noise_is_cut(self):
        assert fit_length(np.arange(10), 3, 4).tolist() == [4, 5, 6]


@pytest.mark.parametrize(("samples", "expected"), [([], 0.0), ([0.5, -0.5], 0.25), ([1.0, 0.0, 0.0, 0.0], 0.25)])
def test_power_is_the_mean_square(samples, expected):
    assert power(np.array(samples)) == expected
