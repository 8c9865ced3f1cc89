"""Channels are compared: the mean is scored where they agree, and one of them where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.audio.channel_relations import ChannelChoice, ChannelMeter
from transforms.marks import ANTIPHASE, DEAD, DELAYED, NOISY, UNLIKE

RATE = 16_000


def voice(seed: int, seconds: float = 4.0, rate: int = RATE) -> np.ndarray:
    """Noise with the spectrum and the syllables of speech."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    spectrum = np.fft.rfft(rng.normal(size=n)) / (1 + (np.fft.rfftfreq(n, 1 / rate) / 500) ** 2)
    syllables = np.repeat(rng.uniform(0, 1, int(seconds * 5) + 1) ** 2, rate // 5)[:n]
    samples = np.fft.irfft(spectrum, n) * syllables
    return (0.1 * samples / np.abs(samples).max()).astype(np.float32)


def choice(*channels: np.ndarray, rate: int = RATE, blocks: int = 1) -> ChannelChoice:
    meter = ChannelMeter(rate, len(channels))
    for block in np.array_split(np.stack(channels, axis=1), blocks):
        meter.add(block)
    return meter.choice()


X = voice(1)
HISS = np.random.default_rng(9).normal(0, 10 ** (-75 / 20), len(X)).astype(np.float32)


@pytest.mark.parametrize("gain", [1.0, 0.3, 0.05])
def test_channels_that_agree_are_averaged(gain):
    assert choice(X, gain * X + HISS) == ChannelChoice()
    assert choice(X, gain * X + HISS, X) == ChannelChoice()


@pytest.mark.parametrize("gain", [-1.0, -0.95, -0.3])
def test_an_inverted_channel_is_found(gain):
    assert choice(X, gain * X + HISS) == ChannelChoice((0,), (ANTIPHASE,))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("late_ms", [0.3, 2.5, 12.0])
def test_a_late_channel_is_found(rate, late_ms):
    x = voice(1, rate=rate)
    late = round(late_ms / 1000 * rate)
    found = choice(x, np.concatenate([np.zeros(late, np.float32), x[:-late]]), rate=rate)
    assert found.flags == (DELAYED,)
    assert len(found.candidates) == 1


@pytest.mark.parametrize("dead", [np.zeros_like(X), HISS, np.full_like(X, 0.2)])
def test_a_channel_without_signal_is_dead(dead):
    assert choice(X, dead) == ChannelChoice((0,), (DEAD,))
    assert choice(dead, X) == ChannelChoice((1,), (DEAD,))


@pytest.mark.parametrize("other", [voice(2), np.random.default_rng(3).normal(0, 0.02, len(X)).astype(np.float32)])
def test_channels_with_different_sounds_are_all_candidates(other):
    found = choice(X, other)
    assert sorted(found.candidates) == [0, 1]
    assert found.flags == (UNLIKE,)


def test_the_less_noisy_of_two_late_channels_is_chosen():
    noisy = np.roll(X, 40) + np.random.default_rng(3).normal(0, 0.003, len(X)).astype(np.float32)
    assert choice(noisy, X).candidates[0] == 1
    assert choice(X, noisy).candidates[0] == 0


def test_a_muffled_channel_is_compared_by_its_score():
    muffled = np.convolve(X, np.full(16, 1 / 16, np.float32))[: len(X)]
    found = choice(X, np.roll(muffled, 40))
    assert found.flags == (DELAYED,)
    assert sorted(found.candidates) == [0, 1]


PAUSED = np.where(np.arange(len(X)) // (RATE // 5) % 5 == 0, np.float32(0), X)


@pytest.mark.parametrize("rms", [0.001, 0.003, 0.01])
def test_a_noisy_channel_is_left_out(rms):
    noisy = PAUSED + np.random.default_rng(3).normal(0, rms, len(X)).astype(np.float32)
    assert choice(PAUSED + HISS, noisy) == ChannelChoice((0,), (NOISY,))
    assert choice(noisy, PAUSED + HISS) == ChannelChoice((1,), (NOISY,))


def test_channels_of_equal_noise_are_averaged():
    hiss = np.random.default_rng(4).normal(0, 10 ** (-75 / 20), len(X)).astype(np.float32)
    assert choice(PAUSED + HISS, PAUSED + hiss) == ChannelChoice()
    assert choice(PAUSED + HISS, 0.5 * PAUSED + hiss) == ChannelChoice()


@pytest.mark.parametrize("part", [slice(len(X) // 2), slice(len(X) // 2, None), slice(len(X) // 3, len(X) // 2)])
def test_a_channel_that_is_dead_for_a_part_is_left_out(part):
    partly = X.copy()
    partly[part] = 0
    assert choice(X, partly) == ChannelChoice((0,), (DEAD,))
    assert choice(partly, X) == ChannelChoice((1,), (DEAD,))


def test_gated_channels_that_speak_in_turn_carry_different_sounds():
    first = np.arange(len(X)) < len(X) // 2
    assert choice(np.where(first, X, 0), np.where(first, 0, voice(2))).flags == (UNLIKE,)


def test_several_differences_have_several_flags():
    assert choice(X, -X, np.zeros_like(X)) == ChannelChoice((0,), (ANTIPHASE, DEAD))


def test_silence_has_no_choice():
    assert choice(np.zeros_like(X), np.zeros_like(X)) == ChannelChoice()
    assert choice(np.full_like(X, 0.1), np.full_like(X, -0.1)) == ChannelChoice()


@given(gain=st.floats(1e-3, 1e4), blocks=st.integers(1, 5))
def test_a_gain_and_blocks_do_not_change_the_choice(gain, blocks):
    x = X * np.float32(gain)
    assert choice(x, -x, blocks=blocks) == ChannelChoice((0,), (ANTIPHASE,))
    assert choice(x, 0.5 * x, blocks=blocks) == ChannelChoice()


def test_pauses_at_the_correlated_windows_of_a_short_recording_do_not_count():
    # One of six windows is correlated in a long recording; here, that would be silence with hiss of its own in each channel.
    short = X[: 2 * RATE].copy()
    for start in (0, round(1.5 * RATE)):
        short[start : start + RATE // 4] = 0
    one, other = (short + np.random.default_rng(seed).normal(0, 1e-4, len(short)).astype(np.float32) for seed in (1, 2))
    assert choice(one, other) == ChannelChoice()


def test_a_common_drift_of_the_offset_does_not_make_channels_alike():
    drift = (0.05 * np.sin(2 * np.pi * 0.3 * np.arange(len(X)) / RATE)).astype(np.float32)
    assert UNLIKE in choice(X + drift, voice(2) + drift).flags


def test_samples_near_the_range_of_a_float_raise_nothing():
    loud = (X / np.abs(X).max() * 3e38).astype(np.float32)
    for channels in ((loud, loud), (loud, X), (loud, -loud), (np.sign(loud) * np.float32(3.4e38), loud)):
        assert set(choice(*channels).candidates) <= {0, 1}
