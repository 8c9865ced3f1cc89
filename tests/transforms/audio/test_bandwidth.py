"""The bandwidth is that of the sound, whatever raised the rate."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.speech_like import in_16_bits, in_blocks, speech_like
from transforms.audio.bandwidth import Bandwidth, BandwidthMeter, bandwidth_of

RATE = 16_000
SPEECH = in_16_bits(speech_like(8.0, seed=4))


def bandwidth(samples: np.ndarray, rate: int = RATE, cuts: list[int] | None = None) -> Bandwidth:
    meter = BandwidthMeter(rate)
    for block in in_blocks(np.asarray(samples, np.float32), cuts or []):
        meter.add(block)
    return meter.result()


def raised(samples: np.ndarray, rate: int, new_rate: int, method: str) -> np.ndarray:
    if method == "resampled":
        return soxr.resample(samples, rate, new_rate)
    times = np.arange(len(samples) * new_rate // rate) * rate / new_rate
    if method == "held":
        return samples[np.minimum(times.astype(int), len(samples) - 1)]
    return np.interp(times, np.arange(len(samples)), samples)


def hiss(count: int, dbfs: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 10 ** (dbfs / 20), count)


class TestGenuine:
    @pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
    def test_sound_up_to_half_the_rate(self, rate):
        found = bandwidth(in_16_bits(speech_like(6.0, rate)), rate)
        assert 0.9 * rate / 2 <= found.bandwidth_hz <= rate / 2 + 63
        assert not found.upsampled

    @pytest.mark.parametrize("snr_db", [0, 10, 20, 30, 40])
    def test_in_noise_it_stays_wide(self, snr_db):
        level_db = 20 * np.log10(np.sqrt(np.mean(np.square(SPEECH)))) - snr_db
        found = bandwidth(in_16_bits(SPEECH + hiss(len(SPEECH), level_db)))
        assert found.bandwidth_hz > 7_000
        assert not found.upsampled

    def test_a_natural_roll_off_is_not_steep(self):
        samples = speech_like(8.0, 48_000, seed=5)
        dull = scipy.signal.lfilter(*scipy.signal.butter(5, 3_000, fs=48_000), samples)
        found = bandwidth(in_16_bits(0.5 * dull / np.abs(dull).max()), 48_000)
        assert found.bandwidth_hz < 0.5 * 24_000
        assert not found.upsampled

    def test_rare_fricatives_count(self):
        low = scipy.signal.sosfiltfilt(scipy.signal.butter(10, 3_000, fs=RATE, output="sos"), SPEECH)
        samples = np.where(np.arange(len(SPEECH)) % (2 * RATE) < 2_500, low + hiss(len(low), -45), low)
        assert bandwidth(samples).bandwidth_hz > 7_000


NARROW = (
    (8_000, 16_000),
    (8_000, 44_100),
    (8_000, 48_000),
    (11_025, 44_100),
    (12_000, 24_000),
    (16_000, 44_100),
    (16_000, 48_000),
)


class TestRaised:
    @pytest.mark.parametrize("rates", NARROW)
    @pytest.mark.parametrize("method", ["resampled", "held", "interpolated"])
    def test_the_bandwidth_is_that_before(self, rates, method):
        rate, new_rate = rates
        samples = in_16_bits(raised(soxr.resample(SPEECH, RATE, rate), rate, new_rate, method))
        found = bandwidth(samples, new_rate)
        assert 0.9 * rate / 2 <= found.bandwidth_hz <= 1.02 * rate / 2
        assert found.upsampled

    @pytest.mark.parametrize("rates", [(11_025, 16_000), (16_000, 22_050)])
    def test_a_rate_near_the_old_one_limits_the_band_only(self, rates):
        found = bandwidth(raised(soxr.resample(SPEECH, RATE, rates[0]), *rates, "held"), rates[1])
        assert found.bandwidth_hz <= 1.02 * rates[0] / 2
        assert not found.upsampled

    @pytest.mark.parametrize("method", ["resampled", "held", "interpolated"])
    def test_light_hiss_added_later_does_not_hide_it(self, method):
        samples = raised(soxr.resample(SPEECH, RATE, 8_000), 8_000, RATE, method)
        found = bandwidth(in_16_bits(samples + hiss(len(samples), -75)))
        assert found.bandwidth_hz <= 4_100
        assert found.upsampled

    def test_a_coarse_filter_counts_as_a_steep_edge(self):
        samples = scipy.signal.resample_poly(soxr.resample(SPEECH, RATE, 8_000), 2, 1)
        found = bandwidth(in_16_bits(samples))
        assert found.bandwidth_hz < 5_000
        assert found.upsampled

    def test_a_pilot_tone_hum_and_an_offset_do_not_count(self):
        samples = raised(soxr.resample(SPEECH, RATE, 8_000), 8_000, 48_000, "resampled")
        times = np.arange(len(samples)) / 48_000
        pilot = 0.01 * np.sin(2 * np.pi * 19_000 * times) + 0.1 * np.sin(2 * np.pi * 50 * times) + 0.2
        found = bandwidth(samples + pilot, 48_000)
        assert found.bandwidth_hz <= 4_100
        assert found.upsampled


class TestWindows:
    def test_each_window_has_its_own_bandwidth_and_silence_has_none(self):
        narrow = soxr.resample(soxr.resample(SPEECH, RATE, 8_000), 8_000, RATE)
        found = bandwidth(np.concatenate([SPEECH, np.zeros(2 * RATE), narrow])).window_bandwidth
        wide, silent, second = np.split(found, [250, 312])
        assert bandwidth_of(wide) > 7_000
        assert not silent[1:-1].any()
        assert bandwidth_of(second) < 4_200

    def test_there_is_a_window_each_32_ms(self):
        assert len(bandwidth(SPEECH).window_bandwidth) == len(SPEECH) // 512
        assert len(bandwidth(SPEECH[:300]).window_bandwidth) == 1

    def test_silence_and_nothing_have_none(self):
        assert bandwidth(np.zeros(RATE)).bandwidth_hz == 0.0
        assert BandwidthMeter(RATE).result().bandwidth_hz == 0.0
        assert bandwidth_of(np.empty(0, np.float32)) == 0.0

    def test_the_spectrum_has_the_power_of_a_tone_in_its_bin(self):
        meter = BandwidthMeter(RATE)
        meter.add(np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE)[:, None].astype(np.float32))
        assert np.argmax(meter.spectrum) == 32


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(SPEECH)), max_size=6))
def test_the_result_does_not_depend_on_the_blocks(cuts):
    whole, parts = bandwidth(SPEECH), bandwidth(SPEECH, cuts=cuts)
    assert parts.bandwidth_hz == whole.bandwidth_hz
    assert np.mean(parts.window_bandwidth == whole.window_bandwidth) > 0.99


@settings(max_examples=20, deadline=None)
@given(st.integers(-20, 20))
def test_a_gain_changes_nothing(exponent):
    louder = bandwidth(SPEECH * np.float32(2.0) ** exponent)
    assert louder.window_bandwidth == pytest.approx(bandwidth(SPEECH).window_bandwidth)


def test_the_order_of_channels_does_not_matter():
    pair = np.stack([SPEECH, 0.5 * SPEECH[::-1]], axis=1)
    assert bandwidth(pair).bandwidth_hz == bandwidth(pair[:, ::-1]).bandwidth_hz


@pytest.mark.parametrize("rate", [4_000, 384_000])
def test_the_lowest_and_the_highest_rate(rate):
    assert bandwidth(hiss(rate, -20), rate).bandwidth_hz == pytest.approx(rate / 2, rel=0.05)


@pytest.mark.corpus
def test_real_speech_is_wide_and_raised_speech_is_not(corpus):
    files = sorted((corpus / "speech").rglob("*.flac"))[::20]
    raised_files = []
    for file in files:
        samples = soundfile.read(file, dtype="float32")[0]
        found = bandwidth(samples)
        assert found.bandwidth_hz > 6_500, file
        assert not found.upsampled, file
        held = bandwidth(np.repeat(soxr.resample(samples, RATE, 8_000), 2))
        raised_files.append(held.upsampled and held.bandwidth_hz <= 4_000)
    assert np.mean(raised_files) >= 0.95
