"""Each signal fact on signals with a known value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.features import frame_power
from transforms.audio.signal_facts import (
    FLOOR_DB,
    FULL_SCALE,
    FactsMeter,
    decibels,
    dynamic_range_db,
    frame_levels_db,
    silence_ratio,
    snr_estimate_db,
)
from transforms.elements import SignalFacts

RATE = 16_000


def tone(seconds: float, rate: int = RATE, amplitude: float = 0.5, hertz: float = 437.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(n: int, rms: float = 0.1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, rms, n).astype(np.float32)


def low_passed_noise(n: int, rate: int, hertz: float) -> np.ndarray:
    spectrum = np.fft.rfft(noise(n))
    spectrum[np.fft.rfftfreq(n, 1 / rate) > hertz] = 0
    return np.fft.irfft(spectrum, n).astype(np.float32)


def facts(*blocks: np.ndarray, rate: int = RATE) -> SignalFacts:
    meter = FactsMeter(rate)
    for block in blocks:
        meter.add(block if block.ndim == 2 else block[:, None])
    return meter.facts(frame_power(noise(RATE)))


class TestLevels:
    @pytest.mark.parametrize("amplitude", [1.0, 0.5, 0.1, 0.001])
    def test_the_rms_of_a_sine_is_3_db_below_its_peak(self, amplitude):
        measured = facts(tone(1.0, amplitude=amplitude))
        assert measured.peak_dbfs == pytest.approx(20 * np.log10(amplitude), abs=0.01)
        assert measured.rms_dbfs == pytest.approx(20 * np.log10(amplitude) - 3.01, abs=0.01)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_the_peak_may_be_in_any_channel_and_of_either_sign(self, sign):
        block = np.zeros((1_000, 3), np.float32)
        block[500, 2] = sign * 0.25
        assert facts(block).peak_dbfs == pytest.approx(-12.04, abs=0.01)

    def test_the_rms_is_over_all_channels(self):
        left = tone(1.0, amplitude=1.0)
        measured = facts(np.stack([left, np.zeros_like(left)], axis=1))
        assert measured.rms_dbfs == pytest.approx(-6.02, abs=0.01)

    def test_digital_silence_is_at_the_floor_and_has_no_bandwidth(self):
        measured = facts(np.zeros(1_000, np.float32))
        assert (measured.peak_dbfs, measured.rms_dbfs, measured.bandwidth_hz) == (FLOOR_DB, FLOOR_DB, 0.0)
        assert (measured.clipped_ratio, measured.dc_offset) == (0.0, 0.0)

    @pytest.mark.parametrize("offset", [0.05, -0.2, 0.0])
    def test_the_dc_offset_is_the_mean(self, offset):
        assert facts(tone(1.0, hertz=440) + np.float32(offset)).dc_offset == pytest.approx(offset, abs=1e-4)

    def test_opposite_offsets_of_two_channels_cancel(self):
        block = np.repeat(np.float32([[0.1, -0.1]]), 1_000, axis=0)
        assert facts(block).dc_offset == pytest.approx(0.0, abs=1e-7)

    @pytest.mark.parametrize(("ratio", "db"), [(1.0, 0.0), (100.0, 20.0), (1e-30, FLOOR_DB), (0.0, FLOOR_DB)])
    def test_decibels_have_a_floor(self, ratio, db):
        assert decibels(ratio) == pytest.approx(db)

    def test_frame_levels_are_in_dbfs(self):
        levels = frame_levels_db(np.concatenate([np.full(1_024, 0.1), np.zeros(1_024)]))
        assert levels[0] == pytest.approx(-20.0)
        assert levels[-1] == FLOOR_DB
        assert len(levels) == 7


class TestClipping:
    @pytest.mark.parametrize("gain", [1.1, 2.0, 10.0])
    def test_at_full_scale_every_clipped_sample_counts(self, gain):
        clipped = np.clip(tone(1.0, amplitude=gain), -1, 1)
        assert facts(clipped).clipped_ratio == pytest.approx(np.mean(np.abs(clipped) >= 1))

    def test_only_the_largest_value_of_16_bits_is_full_scale(self):
        block = np.zeros(1_000, np.float32)
        block[[10, 20, 30]] = [32_767 / 32_768, -1.0, 32_766 / 32_768]
        assert facts(block).clipped_ratio == pytest.approx(2 / 1_000)
        assert FULL_SCALE == 32_767 / 32_768

    @pytest.mark.parametrize("scale", [0.5, 0.1, 0.01])
    def test_a_plateau_is_found_after_the_gain_was_reduced(self, scale):
        clipped = np.clip(tone(1.0, amplitude=2.0, hertz=100), -1, 1)
        ratio = np.mean(np.abs(clipped) >= 1)
        assert facts(clipped * np.float32(scale)).clipped_ratio == pytest.approx(ratio)

    def test_a_plateau_may_be_on_one_side_only(self):
        clipped = np.minimum(tone(1.0, amplitude=0.8, hertz=100), np.float32(0.4))
        assert facts(clipped).clipped_ratio == pytest.approx(np.mean(clipped == np.float32(0.4)))

    def test_a_plateau_in_one_channel_counts_among_the_samples_of_all(self):
        clipped = np.clip(tone(1.0, amplitude=2.0, hertz=100), -0.5, 0.5)
        measured = facts(np.stack([tone(1.0, amplitude=0.3), clipped], axis=1))
        assert measured.clipped_ratio == pytest.approx(np.mean(np.abs(clipped) == 0.5) / 2)

    def test_a_run_across_channels_is_not_a_plateau(self):
        block = np.zeros((1_000, 3), np.float32)
        block[500] = 0.5
        assert facts(block).clipped_ratio == 0.0

    @pytest.mark.parametrize(("run", "counted"), [(1, 0), (2, 0), (3, 3), (7, 7)])
    def test_a_plateau_has_at_least_3_samples(self, run, counted):
        block = noise(1_000, rms=0.01)
        block[500 : 500 + run] = 0.5
        assert facts(block).clipped_ratio == pytest.approx(counted / 1_000)

    @pytest.mark.parametrize("place", [0, 997])
    def test_a_plateau_at_either_end_of_the_recording_counts(self, place):
        block = noise(1_000, rms=0.01)
        block[place : place + 3] = 0.5
        assert facts(block).clipped_ratio == pytest.approx(3 / 1_000)

    def test_a_plateau_below_the_extreme_does_not_count(self):
        block = noise(1_000, rms=0.01)
        block[100:150] = 0.3
        block[500] = 0.5
        assert facts(block).clipped_ratio == 0.0

    def test_a_later_higher_peak_discards_the_earlier_plateau(self):
        low, high = noise(1_000, rms=0.01), noise(1_000, rms=0.01, seed=1)
        low[500:600], high[500:504] = 0.3, 0.5
        assert facts(low, high).clipped_ratio == pytest.approx(4 / 2_000)
        assert facts(high, low).clipped_ratio == pytest.approx(4 / 2_000)

    def test_plateaus_at_the_same_height_in_several_blocks_add_up(self):
        block = noise(1_000, rms=0.01)
        block[500:505] = 0.5
        assert facts(block, block, block).clipped_ratio == pytest.approx(5 / 1_000)

    def test_clean_tones_and_noise_are_not_clipped(self):
        assert facts(tone(1.0, amplitude=0.9)).clipped_ratio == 0.0
        assert facts(noise(RATE)).clipped_ratio == 0.0


class TestSilence:
    def test_a_tone_that_is_silent_half_the_time_has_a_ratio_of_half(self):
        assert silence_ratio(frame_power(np.concatenate([tone(1.0), np.zeros(RATE, np.float32)]))) == pytest.approx(
            0.5, abs=0.02
        )

    @pytest.mark.parametrize(("below_db", "expected"), [(30, 0.0), (36, 0.0), (44, 0.25), (60, 0.25)])
    def test_frames_more_than_40_db_below_the_speech_are_silent(self, below_db, expected):
        pause = noise(RATE, rms=0.5 / np.sqrt(2) * 10 ** (-below_db / 20))
        assert silence_ratio(frame_power(np.concatenate([tone(3.0), pause]))) == pytest.approx(expected, abs=0.02)

    def test_a_gain_does_not_change_it(self):
        samples = np.concatenate([tone(1.0), noise(RATE, rms=1e-4)])
        assert silence_ratio(frame_power(samples)) == silence_ratio(frame_power(samples * np.float32(0.01)))

    def test_a_steady_tone_has_no_silence(self):
        assert silence_ratio(frame_power(tone(1.0))) == 0.0


class TestBandwidth:
    @pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
    @pytest.mark.parametrize("hertz", [1_000, 3_400, 7_000])
    def test_low_passed_noise_has_the_bandwidth_of_its_filter(self, rate, hertz):
        measured = facts(low_passed_noise(2 * rate, rate, hertz), rate=rate)
        assert measured.bandwidth_hz == pytest.approx(hertz, abs=200)

    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
    def test_white_noise_has_half_the_sampling_rate(self, rate):
        assert facts(noise(rate), rate=rate).bandwidth_hz == pytest.approx(rate / 2, rel=0.005)

    def test_upsampled_telephone_speech_keeps_its_bandwidth(self):
        assert facts(low_passed_noise(96_000, 48_000, 3_400), rate=48_000).bandwidth_hz < 4_000

    @pytest.mark.parametrize(("under_db", "seen"), [(50, True), (75, False)])
    def test_frequencies_60_db_below_the_strongest_do_not_count(self, under_db, seen):
        samples = tone(2.0, hertz=1_000) + tone(2.0, hertz=6_000, amplitude=0.5 * 10 ** (-under_db / 20))
        assert (facts(samples).bandwidth_hz > 5_900) == seen

    def test_a_block_shorter_than_a_window_has_a_bandwidth(self):
        assert facts(noise(100)).bandwidth_hz > 7_000


class TestSnrEstimate:
    @pytest.mark.parametrize("snr_db", [5, 10, 20, 30, 45])
    def test_a_gated_tone_in_noise_has_its_snr(self, snr_db):
        gate = np.repeat([1, 0, 1, 1, 0, 1], RATE // 2).astype(np.float32)
        samples = tone(3.0) * gate + noise(3 * RATE, rms=0.5 / np.sqrt(2) * 10 ** (-snr_db / 20))
        assert snr_estimate_db(frame_power(samples)) == pytest.approx(snr_db, abs=2.5)

    def test_a_gain_does_not_change_it(self):
        samples = np.concatenate([tone(1.0), np.zeros(RATE, np.float32)]) + noise(2 * RATE, rms=0.01)
        assert snr_estimate_db(frame_power(samples * np.float32(0.1))) == pytest.approx(
            snr_estimate_db(frame_power(samples)), abs=1e-3
        )

    def test_digital_silence_has_no_estimate(self):
        assert snr_estimate_db(frame_power(np.concatenate([tone(1.0), np.zeros(RATE // 4, np.float32)]))) is None

    def test_a_little_digital_silence_does_not_matter(self):
        samples = np.concatenate([tone(1.0), np.zeros(RATE, np.float32)]) + noise(2 * RATE, rms=0.01)
        samples[-800:] = 0
        assert snr_estimate_db(frame_power(samples)) == pytest.approx(30.97, abs=1.5)

    def test_steady_noise_has_a_low_estimate_within_the_range(self):
        assert -20 <= snr_estimate_db(frame_power(noise(2 * RATE))) < 0

    def test_less_than_a_frame_has_no_estimate(self):
        assert snr_estimate_db(frame_power(noise(100))) is None


class TestDynamicRange:
    @pytest.mark.parametrize("db", [10, 38, 60])
    def test_the_range_is_the_distance_of_the_pauses_from_the_speech(self, db):
        loud = noise(2 * RATE)
        assert dynamic_range_db(np.concatenate([loud, loud * 10 ** (-db / 20)])) == pytest.approx(db, abs=1.0)

    def test_steady_noise_has_almost_no_range(self):
        assert dynamic_range_db(noise(2 * RATE)) < 2

    def test_digital_silence_counts_as_the_floor(self):
        samples = np.concatenate([np.full(RATE, 0.1), np.zeros(RATE)])
        assert dynamic_range_db(samples) == pytest.approx(-20 - FLOOR_DB, abs=0.1)


@given(
    samples=arrays(np.float32, st.tuples(st.integers(1, 400), st.integers(1, 3)), elements=st.floats(-1, 1, width=32)),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_blocks_do_not_change_levels_and_counts_at_full_scale(samples, cuts):
    # A sample at either end of the scale, where no lower plateau counts.
    samples[0, 0], samples[-1, -1] = (1.0, 1.0) if samples.size == 1 else (1.0, -1.0)
    whole = facts(samples)
    parts = facts(*np.split(samples, sorted(cuts)))
    assert parts.peak_dbfs == whole.peak_dbfs
    assert parts.rms_dbfs == pytest.approx(whole.rms_dbfs, abs=1e-6)
    assert parts.dc_offset == pytest.approx(whole.dc_offset, abs=1e-7)
    if samples.size > 1:
        at_full_scale = int(np.count_nonzero(np.abs(samples) >= FULL_SCALE))
        assert parts.clipped_ratio == whole.clipped_ratio == at_full_scale / samples.size


@given(samples=arrays(np.float32, st.integers(1, 2_000), elements=st.floats(-4, 4, width=32)))
def test_every_fact_is_finite_and_in_its_range(samples):
    measured = facts(samples)
    assert FLOOR_DB <= measured.rms_dbfs <= measured.peak_dbfs + 1e-6
    assert 0 <= measured.clipped_ratio <= 1
    assert abs(measured.dc_offset) <= 4
    assert 0 <= measured.bandwidth_hz <= RATE / 2
