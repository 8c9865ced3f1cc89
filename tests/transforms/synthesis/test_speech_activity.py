"""Speech is found where a clean recording is loud, at any level and whatever the length of the pauses."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from tests.support.speech_like import speech_like
from transforms.synthesis.speech_activity import speech_mask, speech_power, speech_spans

# Two frames: an edge can be told no better.
TOLERANCE = 0.032 + 0.016


def in_seconds(spans) -> list[tuple[float, float]]:
    return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in spans]


def noise_with_envelope(parts: list[tuple[float, float]], seed: int = 0) -> np.ndarray:
    """White noise whose level in dB is given for parts of some seconds."""
    levels = np.concatenate([np.full(round(length * SAMPLE_RATE), level) for length, level in parts])
    return (np.random.default_rng(seed).standard_normal(len(levels)) * 10 ** (levels / 20)).astype(np.float32)


@pytest.mark.parametrize("floor_db", [-90.0, -65.0, -np.inf])
@pytest.mark.parametrize("soft_db", [-20.0, -40.0])
def test_loud_parts_are_found(floor_db, soft_db):
    parts = [(0.5, floor_db), (1.0, -20.0), (0.4, floor_db), (0.6, soft_db), (0.7, floor_db)]
    spans = in_seconds(speech_spans(noise_with_envelope(parts)))
    assert np.array(spans) == pytest.approx(np.array([(0.5, 1.5), (1.9, 2.5)]), abs=TOLERANCE)


def test_short_gaps_belong_to_the_speech_and_clicks_do_not():
    parts = [(0.5, -80.0), (0.4, -20.0), (0.08, -80.0), (0.4, -20.0), (1.0, -80.0), (0.005, -20.0), (0.5, -80.0)]
    spans = in_seconds(speech_spans(noise_with_envelope(parts)))
    assert np.array(spans) == pytest.approx(np.array([(0.5, 1.38)]), abs=TOLERANCE)


def test_speech_without_pauses_is_found_whole():
    samples = noise_with_envelope([(0.2, -20.0), (0.2, -30.0), (0.2, -24.0)] * 5)
    assert speech_spans(samples) == ((0, len(samples)),)


def test_the_speech_of_the_sample_is_found(samples):
    speech = soundfile.read(samples / "clean.flac", dtype="float32")[0]
    spans = speech_spans(speech)
    mask = speech_mask(spans, len(speech))
    assert np.sum(np.square(speech[mask], dtype=np.float64)) > 0.999 * np.sum(np.square(speech, dtype=np.float64))
    assert 0.5 < mask.mean() < 0.95


@pytest.mark.parametrize("length", [0, 1, 400, 512, 5_000])
def test_silence_has_no_speech(length):
    assert speech_spans(np.zeros(length, np.float32)) == ()


@given(st.integers(1, 40_000), st.integers(0, 20), st.floats(-60.0, 20.0))
def test_spans_are_ascending_disjoint_within_the_clip_and_independent_of_the_level(length, seed, gain_db):
    samples = speech_like(2.5, seed=seed)[:length]
    spans = speech_spans(samples)
    flat = [position for span in spans for position in span]
    assert flat == sorted(set(flat))
    assert not flat or (flat[0] >= 0 and flat[-1] <= len(samples))
    assert speech_spans(samples * np.float32(2.0 ** round(gain_db / 6.02))) == spans


def test_the_power_of_speech_is_that_of_its_spans():
    samples = np.concatenate([np.zeros(100), np.full(300, 0.5), np.ones(100)]).astype(np.float32)
    assert speech_power(samples, ((100, 400),)) == pytest.approx(0.25)
    assert speech_power(samples, ((350, 450),)) == pytest.approx((0.25 + 1) / 2)
    assert speech_power(samples, ()) == 0.0
