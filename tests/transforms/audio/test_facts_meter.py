"""The meter's facts on signals with a known value, at several rates and in any blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.features import frame_power
from transforms.audio.facts_meter import FactsMeter, Measured
from transforms.audio.signal_facts import FLOOR_DB

RATE = 16_000


def tone(seconds: float, rate: int = RATE, amplitude: float = 0.5, hertz: float = 437.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(n: int, rms: float = 0.1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, rms, n).astype(np.float32)


def measure(*blocks: np.ndarray, rate: int = RATE) -> Measured:
    meter = FactsMeter(rate)
    blocks = [block if block.ndim == 2 else block[:, None] for block in blocks]
    for block in blocks:
        meter.add(block)
    mono = np.concatenate(blocks).mean(axis=1)
    # As many frames as at 16 kHz. Only their level would change there.
    frames = np.pad(mono, (0, 512))[: max(512, round(len(mono) * RATE / rate))]
    return meter.measure(frame_power(frames - mono.mean()))


class TestLevels:
    @pytest.mark.parametrize("amplitude", [100.0, 1.0, 0.5, 0.1, 0.001])
    def test_the_rms_of_a_sine_is_3_db_below_its_peak(self, amplitude):
        facts = measure(tone(1.0, amplitude=amplitude)).facts
        assert facts.peak_dbfs == pytest.approx(20 * np.log10(amplitude), abs=0.06)
        assert facts.rms_dbfs == pytest.approx(20 * np.log10(amplitude) - 3.01, abs=0.06)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_the_peak_may_be_in_any_channel_and_of_either_sign(self, sign):
        block = np.zeros((1_000, 3), np.float32)
        block[500, 2] = sign * 0.25
        assert measure(block).facts.peak_dbfs == pytest.approx(-12.04, abs=0.06)

    @pytest.mark.parametrize("place", [0, 511, 767, 999])
    def test_every_sample_counts_for_the_peak(self, place):
        block = noise(1_000, rms=1e-3)
        block[place] = 0.5
        assert measure(block).facts.peak_dbfs == pytest.approx(-6.0, abs=0.1)

    def test_digital_silence_is_at_the_floor_and_has_no_bandwidth(self):
        facts = measure(np.zeros(1_000, np.float32)).facts
        assert (facts.peak_dbfs, facts.rms_dbfs, facts.bandwidth_hz) == (FLOOR_DB, FLOOR_DB, 0.0)
        assert (facts.clipped_ratio, facts.dc_offset, facts.noise_floor_snr_db) == (0.0, 0.0, None)

    @pytest.mark.parametrize("offset", [0.05, -0.2, 0.0])
    def test_an_offset_is_measured_and_moves_no_other_fact(self, offset):
        samples = noise(2 * RATE)
        facts, without = measure(samples + np.float32(offset)).facts, measure(samples).facts
        assert facts.dc_offset == pytest.approx(samples.mean() + offset, abs=1e-4)
        for name in ("peak_dbfs", "rms_dbfs", "clipped_ratio", "silence_ratio", "bandwidth_hz", "noise_floor_snr_db"):
            assert getattr(facts, name) == pytest.approx(getattr(without, name), abs=0.2), name

    def test_opposite_offsets_of_two_channels_cancel(self):
        block = np.repeat(np.float32([[0.1, -0.1]]), 1_000, axis=0)
        assert measure(block).facts.dc_offset == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_clipped_frames_are_those_that_reach_the_clipped_level(rate):
    samples = noise(4 * rate, rms=0.05)
    samples[2 * rate : 3 * rate] = np.clip(8 * samples[2 * rate : 3 * rate], -0.4, 0.4)
    measured = measure(samples, rate=rate)
    clipped = measured.frame_facts.clipped
    assert measured.facts.clipped_ratio == pytest.approx(np.mean(np.abs(samples) >= 0.4), rel=0.1)
    assert clipped[127:185].all()
    assert not clipped[:120].any()
    assert not clipped[192:].any()


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_dropouts_lie_in_their_frames(rate):
    samples = noise(4 * rate)
    samples[2 * rate : 2 * rate + round(0.3 * rate)] = 0
    measured = measure(samples, rate=rate)
    dropped = np.flatnonzero(measured.frame_facts.dropout_s)
    assert (measured.facts.dropouts, measured.facts.dropout_s) == (1, pytest.approx(0.3, abs=0.01))
    assert (dropped[0] * 0.016, dropped[-1] * 0.016) == (pytest.approx(2.0, abs=0.02), pytest.approx(2.3, abs=0.02))


class TestBandwidth:
    @pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
    @pytest.mark.parametrize("hertz", [1_000, 3_400, 7_000])
    def test_low_passed_noise_has_the_bandwidth_of_its_filter(self, rate, hertz):
        spectrum = np.fft.rfft(noise(2 * rate))
        spectrum[np.fft.rfftfreq(2 * rate, 1 / rate) > hertz] = 0
        facts = measure(np.fft.irfft(spectrum, 2 * rate).astype(np.float32), rate=rate).facts
        assert facts.bandwidth_hz == pytest.approx(hertz, abs=600)

    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
    def test_white_noise_has_half_the_sampling_rate(self, rate):
        assert measure(noise(rate), rate=rate).facts.bandwidth_hz == pytest.approx(rate / 2, rel=0.02)

    def test_a_part_without_high_frequencies_has_its_own_bandwidth(self):
        spectrum = np.fft.rfft(noise(2 * RATE))
        spectrum[np.fft.rfftfreq(2 * RATE, 1 / RATE) > 3_000] = 0
        frames = measure(np.concatenate([noise(2 * RATE), np.fft.irfft(spectrum, 2 * RATE)])).frame_facts
        assert frames.bandwidth_hz[:100].min() > 7_000
        assert 2_000 < np.median(frames.bandwidth_hz[140:]) < 4_000


class TestMarks:
    def test_a_steady_tone_is_no_speech(self):
        assert "no_speech" in measure(tone(4.0)).marks

    def test_noise_with_syllables_is_no_proof_of_no_speech(self):
        gains = np.repeat(np.random.default_rng(1).uniform(0.05, 1.0, 40), RATE // 10)
        assert measure(noise(4 * RATE) * gains.astype(np.float32)).marks == ()


@given(
    samples=arrays(np.float32, st.tuples(st.integers(1, 400), st.integers(1, 3)), elements=st.floats(-1, 1, width=32)),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_blocks_do_not_change_levels(samples, cuts):
    whole = measure(samples).facts
    parts = measure(*np.split(samples, sorted(cuts))).facts
    assert parts.peak_dbfs == whole.peak_dbfs
    assert parts.rms_dbfs == whole.rms_dbfs
    assert parts.dc_offset == pytest.approx(whole.dc_offset, abs=1e-7)


@given(samples=arrays(np.float32, st.integers(1, 2_000), elements=st.floats(-4, 4, width=32)))
def test_every_fact_is_finite_and_in_its_range(samples):
    facts = measure(samples).facts
    assert facts.rms_dbfs >= FLOOR_DB
    assert FLOOR_DB <= facts.peak_dbfs < 20
    assert 0 <= facts.clipped_ratio <= 1
    assert 0 <= facts.silence_ratio <= 1
    assert abs(facts.dc_offset) <= 4
    assert 0 <= facts.bandwidth_hz <= RATE / 2
    assert facts.dropouts >= 0
    assert 0 <= facts.active_s <= len(samples) / RATE + 0.032


@pytest.mark.parametrize("scale", [1e18, 1e30, 1e37])
def test_huge_samples_are_measured(scale):
    measured = measure(noise(2 * RATE) * np.float32(scale))
    assert np.isfinite(measured.facts.rms_dbfs)
    assert measured.facts.bandwidth_hz == pytest.approx(8_000, abs=200)
    assert measured.facts.dropouts == 0
