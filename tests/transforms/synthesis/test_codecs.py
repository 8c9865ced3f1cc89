"""Coding there and back keeps length, timing and level at every setting that is used."""

from __future__ import annotations

import numpy as np
import pytest

from model.features import SAMPLE_RATE
from transforms.synthesis.codecs import GOOD, LOSSY, Coding, transcode

CODINGS = [*(coding for family in LOSSY for coding in family), *GOOD]
EACH = pytest.mark.parametrize("coding", CODINGS, ids=str)


def delay(sent: np.ndarray, heard: np.ndarray, most: int = 4_000) -> int:
    """By how many samples `heard` lags, from the peak of the cross-correlation."""
    size = 2 * len(sent)
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size))
    correlation = np.roll(np.fft.irfft(spectrum, size), most)[: 2 * most + 1]
    return int(np.argmax(correlation)) - most


@pytest.fixture(scope="module")
def speech(make_speech) -> np.ndarray:
    return make_speech(4.0, seed=2)


@EACH
def test_it_stays_where_it_was_and_as_long_and_as_loud_as_it_was(coding, speech):
    heard = transcode(speech, coding)
    assert heard.dtype == np.float32
    assert heard.shape == speech.shape
    # At 6 to 8 kbit/s Opus makes up much of the waveform: half a sample is what can be told.
    assert abs(delay(speech, heard)) <= 1
    assert 10 * np.log10(np.mean(heard**2) / np.mean(speech**2)) == pytest.approx(0.0, abs=2.0)
    assert not np.array_equal(heard, speech)


@EACH
@pytest.mark.parametrize("length", [0, 1, 700, 16_001])
def test_any_length_is_kept_and_silence_stays_silent(coding, length, speech):
    assert np.isfinite(heard := transcode(speech[:length], coding)).all()
    assert len(heard) == length
    assert not transcode(np.zeros(length, np.float32), coding).any()


@pytest.mark.parametrize("coding", [family[0] for family in LOSSY], ids=str)
@pytest.mark.parametrize("gain", [1e-4, 30.0])
def test_the_level_changes_nothing(coding, gain, speech):
    heard = transcode(speech * np.float32(gain), coding) / gain
    assert np.abs(heard - transcode(speech, coding)).max() < 0.05  # rounding makes other choices


@EACH
def test_it_is_the_same_every_time_and_leaves_its_input_alone(coding, speech):
    piece = speech[:8_000].copy()
    first = transcode(piece, coding)
    assert np.array_equal(first, transcode(piece, coding))
    assert np.array_equal(piece, speech[:8_000])


def test_a_higher_rate_is_closer_to_the_original(speech):
    for codec, settings in (("mp3", (12, 32, 128)), ("opus", (8, 24, 64)), ("vorbis", (-0.1, 0.3, 0.8))):
        errors = [np.mean((transcode(speech, Coding(codec, SAMPLE_RATE, s)) - speech) ** 2) for s in settings]
        assert errors == sorted(errors, reverse=True), codec


def test_a_coding_at_8_khz_leaves_nothing_above_4(speech):
    def share_above(coding: Coding) -> float:
        spectrum = np.abs(np.fft.rfft(transcode(speech, coding))) ** 2
        return spectrum[len(spectrum) * 9 // 16 :].sum() / spectrum.sum()

    for coding in CODINGS:
        assert share_above(coding) < 1e-6 or coding.sample_rate > 8_000, coding
    assert share_above(Coding("vorbis", 16_000, -0.1)) > 1e-4


def test_codings_have_names_for_people():
    assert str(Coding("opus", 16_000, 12)) == "opus 12 kbit/s at 16 kHz"
    assert str(Coding("vorbis", 8_000, -0.1)) == "vorbis quality -0.1 at 8 kHz"
    assert str(Coding("gsm", 8_000)) == "gsm at 8 kHz"
    assert len(set(map(str, CODINGS))) == len(CODINGS)
