"""Mains hum is found by its steady lines, at its level, and not in voices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.speech_like import in_blocks, speech_like
from transforms.audio.hum import Hum, HumMeter

RATE = 16_000
SPEECH = speech_like(10.0, seed=6)
LEVEL_DB = 20 * np.log10(np.sqrt(np.mean(np.square(SPEECH))))


def hum(samples: np.ndarray, rate: int = RATE, cuts: list[int] | None = None) -> Hum:
    meter = HumMeter(rate)
    for block in in_blocks(np.asarray(samples, np.float32), cuts or []):
        meter.add(block)
    return meter.result()


def mains(
    count: int, hertz: float, dbfs: float, rate: int = RATE, harmonics: tuple[float, ...] = (1.0, 0.5, 0.4)
) -> np.ndarray:
    """Mains hum with an RMS in dB of full scale."""
    times = np.arange(count) / rate
    wave = sum(share * np.sin(2 * np.pi * hertz * (i + 1) * times + i) for i, share in enumerate(harmonics))
    return wave / np.sqrt(np.mean(np.square(wave))) * 10 ** (dbfs / 20)


class TestFound:
    @pytest.mark.parametrize("hertz", [50.0, 49.8, 50.1, 60.0, 60.1, 59.9])
    @pytest.mark.parametrize("below_db", [0, 10, 20])
    def test_under_speech(self, hertz, below_db):
        found = hum(SPEECH + mains(len(SPEECH), hertz, LEVEL_DB - below_db))
        assert found.mains_hz == pytest.approx(hertz, abs=0.3)
        assert found.hum_db == pytest.approx(LEVEL_DB - below_db, abs=2.0)

    @pytest.mark.parametrize("rate", [4_000, 8_000, 22_050, 44_100, 48_000, 384_000])
    def test_at_all_rates(self, rate):
        found = hum(mains(5 * rate, 50.0, -40.0, rate), rate)
        assert found.mains_hz == 50.0
        assert found.hum_db == pytest.approx(-40.0, abs=0.7)

    def test_two_harmonics_without_the_fundamental_suffice(self):
        assert hum(mains(5 * RATE, 60.0, -30.0, harmonics=(0.0, 1.0, 0.7))).mains_hz == 60.0

    def test_an_offset_and_silence_at_the_ends_do_not_matter(self):
        samples = np.concatenate([np.zeros(5 * RATE), mains(5 * RATE, 50.0, -40.0) + 0.2, np.zeros(5 * RATE)])
        assert hum(samples).mains_hz == 50.0


@pytest.mark.parametrize("pitch_hz", [60.0, 100.0, 120.0, 150.0])
def test_a_voice_is_no_hum(pitch_hz):
    assert hum(speech_like(20.0, pitch_hz=pitch_hz)) == Hum(0.0, None)


OTHERS = {
    "white noise": np.random.default_rng(0).normal(0, 0.1, 10 * RATE),
    "silence": np.zeros(10 * RATE),
    "a constant": np.full(10 * RATE, 0.3),
    "a tone of 440 Hz": np.sin(2 * np.pi * 440 * np.arange(10 * RATE) / RATE),
    "a tone of 55 Hz": np.sin(2 * np.pi * 55 * np.arange(10 * RATE) / RATE),
    "one second": mains(RATE, 50.0, -20.0),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_sounds_have_none(kind):
    found = hum(OTHERS[kind])
    assert found == Hum(0.0, None)
    assert found.hum_db is None


def test_the_alias_of_a_higher_tone_is_weak():
    assert hum(np.sin(2 * np.pi * 950 * np.arange(10 * RATE) / RATE)).rms < 10 ** (-75 / 20)


def test_without_samples_there_is_none():
    assert HumMeter(RATE).result() == Hum(0.0, None)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(SPEECH)), max_size=6))
def test_the_result_does_not_depend_on_the_blocks(cuts):
    samples = SPEECH + mains(len(SPEECH), 50.0, LEVEL_DB - 15)
    assert hum(samples, cuts=cuts).rms == pytest.approx(hum(samples).rms, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(-15, 15))
def test_a_gain_moves_the_level_only(exponent):
    samples = (SPEECH + mains(len(SPEECH), 50.0, LEVEL_DB - 15)).astype(np.float32)
    assert hum(samples * np.float32(2.0) ** exponent).rms == pytest.approx(hum(samples).rms * 2.0**exponent, rel=1e-3)


def test_a_long_recording_keeps_few_windows_and_its_level(monkeypatch):
    monkeypatch.setattr("transforms.audio.hum.MAX_WINDOWS", 16)
    found = hum(mains(60 * RATE, 60.0, -30.0), cuts=list(range(0, 60 * RATE, 7 * RATE)))
    assert found.hum_db == pytest.approx(-30.0, abs=0.7)
