"""Clipping is found relative to the recording's own extremes, whatever happened to the samples afterwards."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.speech_like import in_16_bits, in_blocks, speech_like
from transforms.audio.clipping import Clipping, ClippingMeter

RATE = 16_000
SPEECH = speech_like(8.0)
TIME = np.arange(8 * RATE) / RATE


def clipping(samples: np.ndarray, cuts: list[int] | None = None) -> Clipping:
    meter = ClippingMeter(RATE)
    for block in in_blocks(np.asarray(samples, np.float32), cuts or []):
        meter.add(block)
    return meter.result()


def clipped(gain: float, samples: np.ndarray = SPEECH) -> np.ndarray:
    """Samples with a gain, clipped at 0.5."""
    return np.clip(gain * samples, -0.5, 0.5)


def coded(samples: np.ndarray, container: str, subtype: str, rate: int = RATE) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


class TestClipped:
    @pytest.mark.parametrize("gain", [1.5, 3.0, 6.0])
    def test_the_ratio_is_the_share_of_samples_at_the_extremes(self, gain):
        samples = in_16_bits(clipped(gain))
        assert clipping(samples).clipped_ratio == pytest.approx(np.mean(np.abs(samples) == 0.5), rel=0.1)

    @pytest.mark.parametrize("gain", [1.0, 0.1, 3e-3, 30_000.0])
    def test_a_later_gain_does_not_hide_it(self, gain):
        assert clipping(gain * clipped(3.0)).clipped_ratio == pytest.approx(
            clipping(clipped(3.0)).clipped_ratio, rel=0.05
        )

    @pytest.mark.parametrize("bits", [8, 16, 24])
    def test_it_is_found_in_all_sample_sizes(self, bits):
        assert clipping(np.round(0.8 * clipped(3.0) * 2**bits) / 2**bits).clipped_ratio > 0.01

    @pytest.mark.parametrize("offset", [0.05, -0.2, 2.0])
    def test_an_offset_does_not_hide_it_and_moves_the_limits(self, offset):
        found = clipping(0.3 * clipped(3.0) + offset)
        assert found.clipped_ratio > 0.01
        assert found.highest[0] == pytest.approx(offset + 0.15, abs=2e-3)
        assert found.lowest[0] == pytest.approx(offset - 0.15, abs=2e-3)

    @pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
    @pytest.mark.parametrize("gain", [3.0, 8.0])
    def test_a_resampler_does_not_hide_it(self, rate, gain):
        assert clipping(in_16_bits(soxr.resample(clipped(gain), RATE, rate))).clipped_ratio > 5e-3

    @pytest.mark.parametrize(("container", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
    def test_a_codec_does_not_hide_it(self, container, subtype):
        assert clipping(coded(clipped(6.0), container, subtype)).clipped_ratio > 5e-3

    def test_weak_noise_does_not_hide_it(self):
        noise = np.random.default_rng(0).normal(0, 3e-3, len(SPEECH))
        assert clipping(clipped(6.0) + noise).clipped_ratio > 5e-3

    def test_a_drifting_offset_does_not_hide_hard_clipping(self):
        assert clipping(np.clip(4 * SPEECH + 0.2 * np.sin(TIME), -0.5, 0.5)).clipped_ratio > 0.01

    def test_one_side_is_enough(self):
        found = clipping(np.clip(4 * SPEECH, -9, 0.5))
        assert found.highest == (0.5,)
        assert found.lowest == (None,)
        assert found.clipped_ratio > 2e-3

    def test_one_of_two_channels_is_enough(self):
        found = clipping(np.stack([SPEECH, clipped(4.0)], axis=1))
        assert found.highest == (None, 0.5)
        assert found.clipped_ratio == pytest.approx(clipping(clipped(4.0)).clipped_ratio / 2)

    def test_a_share_of_2_in_1000_is_found(self):
        limit = float(np.quantile(np.abs(SPEECH), 0.998))
        assert clipping(np.clip(SPEECH, -limit, limit)).clipped_ratio == pytest.approx(0.002, rel=0.2)

    def test_frames_are_marked_where_their_extremes_reach_the_limits(self):
        found = clipping(clipped(4.0))
        high, low = np.array([0.1, 0.5, 0.2, 0.5]), np.array([-0.2, -0.1, -0.5, -0.5])
        assert found.reached(high, low).tolist() == [False, True, True, True]
        assert not clipping(SPEECH).reached(high, low).any()


NOISE = np.random.default_rng(1).normal(0, 0.1, 8 * RATE)
CLICKS = np.zeros(8 * RATE)
CLICKS[::700] = 0.8
UNCLIPPED = {
    "speech": SPEECH,
    "16-bit speech": in_16_bits(SPEECH),
    "speech over full scale": 3.6 * SPEECH,
    "speech in the range of 16-bit integers": 40_000 * SPEECH,
    "8-bit speech": np.round(SPEECH * 250) / 256,
    "quiet 8-bit speech": np.round(SPEECH * 20) / 128,
    "very quiet 8-bit speech": np.round(SPEECH * 4) / 128,
    "noisy speech": SPEECH + 0.3 * NOISE,
    "compressed speech": SPEECH / (np.sqrt(np.convolve(np.square(SPEECH), np.ones(800) / 800, "same")) + 0.01),
    "speech with a soft limit": np.tanh(3 * SPEECH),
    "white noise": NOISE,
    "uniform noise": np.random.default_rng(1).uniform(-1, 1, 8 * RATE),
    "a burst of noise": np.where(np.abs(TIME - 4) < 0.5, NOISE, 0),
    "a tone": 0.9 * np.sin(2 * np.pi * 997 * TIME),
    "quiet 16-bit hum": in_16_bits(0.01 * np.sin(2 * np.pi * 50 * TIME)),
    "beeps": 0.3 * np.sin(2 * np.pi * 1000 * TIME) * (TIME % 0.5 < 0.1),
    "a tone in noise": 0.3 * np.sin(2 * np.pi * 1000 * TIME) + 0.05 * NOISE,
    "speech with a step of the offset": 0.2 * SPEECH + 0.1 * (TIME > 5),
    "speech with a drifting offset": 0.2 * SPEECH + 0.2 * np.sin(TIME),
    "clicks": CLICKS,
    "a square wave": np.sign(np.sin(2 * np.pi * 20 * TIME + 0.1)),
    "silence": np.zeros(8 * RATE),
    "a constant": np.full(8 * RATE, 0.25),
}


@pytest.mark.parametrize("kind", UNCLIPPED)
def test_other_sounds_are_not_clipped(kind):
    assert clipping(UNCLIPPED[kind]) == Clipping(0.0, (None,), (None,))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(SPEECH)), max_size=6), st.sampled_from([1.0, 2.0, 6.0]))
def test_the_result_does_not_depend_on_the_blocks(cuts, gain):
    assert clipping(clipped(gain), cuts) == clipping(clipped(gain))


@settings(max_examples=25, deadline=None)
@given(st.integers(-40, 40), st.sampled_from([1.0, 3.0]))
def test_a_gain_of_powers_of_two_changes_nothing(exponent, gain):
    assert clipping(clipped(gain) * np.float32(2.0) ** exponent).clipped_ratio == clipping(clipped(gain)).clipped_ratio


def test_the_order_of_channels_does_not_matter():
    pair = np.stack([SPEECH, clipped(4.0)], axis=1)
    one, other = clipping(pair), clipping(pair[:, ::-1])
    assert one.clipped_ratio == other.clipped_ratio
    assert one.highest == other.highest[::-1]


def test_without_samples_nothing_is_clipped():
    assert ClippingMeter(RATE).result() == Clipping(0.0, (), ())


def test_an_offset_from_a_first_short_block_is_not_needed():
    assert clipping(clipped(3.0) + 0.4, [40]).clipped_ratio == pytest.approx(
        clipping(clipped(3.0)).clipped_ratio, rel=0.1
    )


@pytest.mark.corpus
def test_at_most_1_percent_of_unclipped_speech_is_clipped_and_heavy_clipping_is_found(corpus):
    files = sorted((corpus / "speech").rglob("*.flac"))[::10]
    natural, heavy = [], []
    for file in files:
        samples = soundfile.read(file, dtype="float32")[0]
        natural.append(clipping(samples).clipped_ratio > 1e-3)
        limit = np.abs(samples).max() / 6
        resampled = scipy.signal.resample_poly(np.clip(samples, -limit, limit), 3, 1)
        heavy.append(clipping(resampled).clipped_ratio > 1e-3)
    assert np.mean(natural) <= 0.01
    assert np.mean(heavy) >= 0.95
