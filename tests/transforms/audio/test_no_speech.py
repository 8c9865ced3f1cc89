"""Silence, tones, noise, hum and clicks have no speech; everything with a voice has."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import soundfile

from model.features import frame_power, frames
from model.high_pass import without_dc
from tests.support.speech_like import in_16_bits, speech_like
from transforms.audio.bandwidth import BandwidthMeter
from transforms.audio.no_speech import is_without_speech

RATE = 16_000
COUNT = 10 * RATE
TIME = np.arange(COUNT) / RATE
SPEECH = speech_like(10.0, seed=7)


def no_speech(samples: np.ndarray) -> bool:
    samples = np.asarray(samples - np.mean(samples), np.float32)
    meter = BandwidthMeter(RATE)
    meter.add(samples[:, None])
    samples = without_dc(samples)
    peak = np.abs(frames(samples)).max(axis=1)
    return is_without_speech(frame_power(samples), peak, meter.spectrum, meter.window_power)


def white(rms: float, seed: int = 0, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, rms, count)


def clicks() -> np.ndarray:
    samples = np.zeros(COUNT)
    samples[np.random.default_rng(1).integers(0, COUNT, 12)] = 0.8
    return samples


WITHOUT = {
    "digital silence": np.zeros(COUNT),
    "the last bit": in_16_bits(white(0.3 / 32_768)),
    "two bits with an offset": in_16_bits(white(2 / 32_768) + 0.005),
    "a tone": in_16_bits(0.1 * np.sin(2 * np.pi * 440 * TIME)),
    "a quiet hum": in_16_bits(0.01 * np.sin(2 * np.pi * 60 * TIME)),
    "hum with harmonics": in_16_bits(sum(0.05 / k * np.sin(2 * np.pi * 50 * k * TIME + k) for k in range(1, 9))),
    "hum in hiss": 0.01 * np.sin(2 * np.pi * 50 * TIME) + white(3e-3),
    "pulsed tones": 0.3 * np.sin(2 * np.pi * 1_000 * TIME) * (TIME % 1 < 0.2) + white(1e-3),
    "two pulsed tones": (np.sin(2 * np.pi * 697 * TIME) + np.sin(2 * np.pi * 1_209 * TIME)) * (TIME % 0.4 < 0.2)
    + white(1e-3),
    "a drifting offset": in_16_bits(0.3 * np.sin(2 * np.pi * 0.1 * TIME)),
    "a drifting offset in hiss": in_16_bits(0.05 * np.sin(2 * np.pi * 0.3 * TIME) + white(1e-4)),
    "white noise": white(0.05),
    "coloured noise": scipy.signal.lfilter([1], [1, -0.8], white(0.05)),
    "clicks": clicks(),
    "clicks in hiss": clicks() + white(5e-4),
    "filtered clicks": scipy.signal.lfilter(*scipy.signal.butter(2, 0.4), clicks()),
}


@pytest.mark.parametrize("kind", WITHOUT)
def test_no_speech(kind):
    assert no_speech(WITHOUT[kind])


def envelope(samples: np.ndarray) -> np.ndarray:
    return np.convolve(np.abs(samples), np.ones(400) / 400, "same")


NOISE_AT_5_DB = white(10 ** (5 / 20) * float(np.sqrt(np.mean(np.square(SPEECH)))))
WITH = {
    "speech": SPEECH,
    "speech in louder noise": SPEECH + NOISE_AT_5_DB,
    "half a second": SPEECH[RATE : RATE * 3 // 2],
    "telephone": scipy.signal.sosfiltfilt(scipy.signal.butter(8, (300, 3_400), "band", fs=RATE, output="sos"), SPEECH),
    "clipped": np.clip(12 * SPEECH, -0.5, 0.5),
    "gated": np.where(envelope(SPEECH) > 0.1 * envelope(SPEECH).max(), SPEECH, 0),
    "reverberant": scipy.signal.fftconvolve(SPEECH, white(1.0, 2, RATE) * np.exp(-np.arange(RATE) / 2_000)),
    "whispered": white(0.1) * envelope(SPEECH),
    "with a drifting offset": 0.1 * SPEECH + 0.3 * np.sin(2 * np.pi * 0.3 * TIME),
    "with rumble": SPEECH + 0.5 * np.sin(2 * np.pi * 15 * TIME) * np.sin(2 * np.pi * 0.4 * TIME),
    "with hum": SPEECH + 0.05 * np.sin(2 * np.pi * 50 * TIME),
    "with clicks": SPEECH + clicks(),
    "very quiet": SPEECH * 1e-4,
}


@pytest.mark.parametrize("kind", WITH)
def test_speech(kind):
    assert not no_speech(WITH[kind])


@pytest.mark.parametrize("gain", [1e-3, 1.0, 3e4])
def test_a_gain_changes_nothing(gain):
    assert no_speech(gain * WITHOUT["white noise"])
    assert no_speech(gain * WITHOUT["clicks in hiss"])
    assert no_speech(gain * WITHOUT["pulsed tones"])
    assert not no_speech(gain * SPEECH)


@pytest.mark.corpus
def test_real_speech_is_speech_also_in_louder_noise(corpus):
    files = sorted((corpus / "speech").rglob("*.flac"))[::10]
    wrong = []
    for i, file in enumerate(files):
        samples = soundfile.read(file, dtype="float64")[0]
        noise = white(10 ** (5 / 20) * float(np.sqrt(np.mean(np.square(samples)))), i, len(samples))
        wrong += [no_speech(samples), no_speech(samples + noise)]
    assert np.mean(wrong) < 0.01
