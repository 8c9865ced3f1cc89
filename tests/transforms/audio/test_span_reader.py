"""Spans of a recording: their samples, signal facts and faults."""

from __future__ import annotations

import io

import numpy as np
import pytest

from model.features import SAMPLE_RATE
from tests.support.decoding import RATES, decode_bytes, fault_of, noise, tone
from transforms.audio import decode as decode_module
from transforms.audio.decode import decode
from transforms.elements import MIX
from transforms.errors import AudioFault, Reason


def test_the_facts_describe_the_recording_before_mixing_and_resampling(encode):
    left = np.clip(tone(1.0, 48_000, amplitude=2.0), -1, 1)
    data = encode(np.stack([left, np.zeros_like(left)], axis=1), 48_000)
    decoded = decode(io.BytesIO(data), channels=MIX)
    assert decoded.samples.max() < 0.6
    assert decoded.facts.peak_dbfs == pytest.approx(0.0, abs=0.06)
    assert 0.3 < decoded.facts.clipped_ratio < 0.34


def test_a_span_longer_than_the_limit_of_the_caller_is_too_long(encode):
    data = encode(noise(3 * SAMPLE_RATE))
    assert decode(io.BytesIO(data), max_s=3).duration_s == 3
    with pytest.raises(AudioFault, match=r"longer than the limit of 2\.5 s") as caught:
        decode(io.BytesIO(data), max_s=2.5)
    assert caught.value.reason == Reason.TOO_LONG


class TestNonFiniteSamples:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("coding", ["WAV/FLOAT", "WAV/DOUBLE", "AIFF/FLOAT"])
    def test_nan_and_infinity_are_faults(self, encode, coding, value):
        samples = noise(2_000)
        samples[777] = value
        fault = fault_of(encode(samples, coding=coding))
        assert (fault.reason, fault.detail) == (Reason.NON_FINITE, "sample 777 is NaN or infinite")

    @pytest.mark.parametrize("bad", [10, 16_000, 40_000])
    def test_the_fault_names_the_first_bad_sample_of_the_recording(self, encode, monkeypatch, bad):
        monkeypatch.setattr(decode_module, "BLOCK_S", 1)
        samples = noise(50_000, 2)
        samples[bad, 1] = np.nan
        samples[bad + 5, 0] = np.inf
        assert f"sample {bad} " in fault_of(encode(samples, coding="WAV/FLOAT")).detail


class TestShortSpans:
    @pytest.mark.parametrize(
        ("samples", "rate"), [(10, 16_000), (511, 16_000), (255, 8_000), (1_500, 48_000), (1, 16_000)]
    )
    def test_less_than_one_frame_is_too_short(self, encode, samples, rate):
        fault = fault_of(encode(noise(samples), rate))
        assert fault.reason == Reason.TOO_SHORT
        assert f"{samples} samples at {rate} Hz" in fault.detail

    def test_a_header_without_samples_is_too_short(self, encode):
        assert fault_of(encode(noise(0))).reason == Reason.TOO_SHORT

    @pytest.mark.parametrize(("samples", "rate"), [(512, 16_000), (256, 8_000), (1_536, 48_000)])
    def test_exactly_one_frame_is_decoded(self, encode, samples, rate):
        assert len(decode_bytes(encode(noise(samples), rate)).samples) == 512


class TestSilence:
    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("channels", [1, 2])
    def test_zeros_are_silent(self, encode, rate, channels):
        assert fault_of(encode(np.zeros((rate, channels)), rate)).reason == Reason.SILENT

    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("level", [0.25, -0.5])
    def test_a_constant_is_silent_at_any_rate(self, encode, rate, level):
        assert fault_of(encode(np.full(rate, level), rate)).reason == Reason.SILENT

    def test_channels_that_cancel_each_other_are_silent(self, encode):
        data = encode(tone(0.5)[:, None] * [1, -1], coding="WAV/FLOAT")
        with pytest.raises(AudioFault, match="silent: the channels cancel each other"):
            decode(io.BytesIO(data), channels=MIX)

    def test_one_of_two_channels_that_cancel_each_other_is_decoded(self, encode):
        channel = noise(2_000)
        decoded = decode_bytes(encode(np.stack([channel, -channel], axis=1)))
        assert (decoded.channel, decoded.measured.marks) == (0, ("antiphase",))

    def test_one_quantisation_step_is_not_silent(self, encode):
        samples = np.zeros(2_000)
        samples[1_000] = 2.0**-15
        assert decode_bytes(encode(samples)).facts.peak_dbfs == pytest.approx(-90.3, abs=0.1)
