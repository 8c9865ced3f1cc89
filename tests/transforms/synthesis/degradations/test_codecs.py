"""Encoding and decoding keeps length, timing and level with every codec and setting in use."""

from __future__ import annotations

import numpy as np
import pytest

from model.features import SAMPLE_RATE
from tests.support.training.alignment import delay
from transforms.synthesis.degradations.codecs import GOOD, LOSSY, Coding, transcode
from transforms.synthesis.degradations.media_codecs import missing_encoders
from transforms.synthesis.spectral_filters import shape_spectrum

CODINGS = [*(coding for family in LOSSY for coding in family), *GOOD]
EACH = pytest.mark.parametrize("coding", CODINGS, ids=str)


@pytest.fixture(scope="module")
def speech(make_speech) -> np.ndarray:
    return make_speech(4.0, seed=2)


@EACH
def test_length_timing_and_level_are_kept(coding, speech):
    decoded = transcode(speech, coding)
    assert decoded.dtype == np.float32
    assert decoded.shape == speech.shape
    # At 6 to 8 kbit/s Opus synthesises much of the waveform, so the delay can be measured to about half a sample.
    assert abs(delay(speech, decoded)) <= 1
    assert 10 * np.log10(np.mean(decoded**2) / np.mean(speech**2)) == pytest.approx(0.0, abs=2.0)
    assert not np.array_equal(decoded, speech)


@EACH
@pytest.mark.parametrize("length", [0, 1, 700, 16_001])
def test_any_length_is_kept_and_silence_stays_silent(coding, length, speech):
    assert np.isfinite(decoded := transcode(speech[:length], coding)).all()
    assert len(decoded) == length
    assert not transcode(np.zeros(length, np.float32), coding).any()


@pytest.mark.parametrize("coding", [family[0] for family in LOSSY], ids=str)
@pytest.mark.parametrize("gain", [1e-4, 30.0])
def test_the_result_does_not_depend_on_the_level(coding, gain, speech):
    decoded, expected = transcode(speech * np.float32(gain), coding) / gain, transcode(speech, coding)
    # Rounding changes decisions of the encoder.
    assert np.mean((decoded - expected) ** 2) < 0.1 * np.mean(expected**2)


@EACH
def test_the_result_is_reproducible_and_the_input_unchanged(coding, speech):
    segment = speech[:8_000].copy()
    first = transcode(segment, coding)
    assert np.array_equal(first, transcode(segment, coding))
    assert np.array_equal(segment, speech[:8_000])


def test_a_higher_rate_is_closer_to_the_original(speech):
    for codec, settings in (("mp3", (12, 32, 128)), ("opus", (8, 24, 64)), ("vorbis", (-0.1, 0.3, 0.8))):
        errors = [np.mean((transcode(speech, Coding(codec, SAMPLE_RATE, s)) - speech) ** 2) for s in settings]
        assert errors == sorted(errors, reverse=True), codec


def test_a_codec_at_8_khz_removes_everything_above_4_khz(speech):
    def share_above(coding: Coding) -> float:
        spectrum = np.abs(np.fft.rfft(transcode(speech, coding))) ** 2
        return spectrum[len(spectrum) * 9 // 16 :].sum() / spectrum.sum()

    for coding in CODINGS:
        assert share_above(coding) < 1e-6 or coding.sample_rate > 8_000, coding
    assert share_above(Coding("vorbis", 16_000, -0.1)) > 1e-4


@EACH
def test_a_narrow_coding_is_known(coding):
    noise = np.random.default_rng(0).normal(size=2 * SAMPLE_RATE)
    # The spectrum falls as that of speech does.
    samples = shape_spectrum(noise, lambda frequency: 1 / (1 + frequency / 500))

    def power_from_6_khz(samples: np.ndarray) -> float:
        spectrum = np.abs(np.fft.rfft(samples)) ** 2
        return float(spectrum[len(spectrum) * 6 // 8 : len(spectrum) * 7 // 8].sum())

    lost_db = 10 * np.log10(power_from_6_khz(samples) / (power_from_6_khz(transcode(samples, coding)) + 1e-9))
    assert (lost_db > 15) == coding.is_narrow


def test_codecs_have_readable_names():
    assert str(Coding("opus", 16_000, 12)) == "opus 12 kbit/s at 16 kHz"
    assert str(Coding("vorbis", 8_000, -0.1)) == "vorbis quality -0.1 at 8 kHz"
    assert str(Coding("gsm", 8_000)) == "gsm at 8 kHz"
    assert str(Coding("amr-nb", 8_000, 4.75)) == "amr-nb 4.75 kbit/s at 8 kHz"
    assert len(set(map(str, CODINGS))) == len(CODINGS)


def test_all_encoders_are_installed():
    assert missing_encoders() == []
