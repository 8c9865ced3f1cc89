"""Signals like speech, made from pulses, formants and noise, for tests that need no corpus."""

from __future__ import annotations

import numpy as np
import scipy.signal

FORMANTS_HZ = ((700, 1200, 2600), (300, 2200, 3000), (500, 900, 2400), (400, 1900, 2600))


def speech_like(seconds: float, rate: int = 16_000, seed: int = 0, pitch_hz: float = 120.0) -> np.ndarray:
    """Returns syllables of a voice with a moving pitch, fricatives and pauses, with a peak of 0.5: float32 [n]."""
    random = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    have = 0
    while have < seconds * rate:
        parts += [_vowel(random, rate, pitch_hz), _fricative(random, rate)]
        if random.random() < 0.3:
            parts.append(np.zeros(round(rate * random.uniform(0.1, 0.4))))
        have = sum(map(len, parts))
    samples = np.concatenate(parts)[: round(seconds * rate)]
    samples += random.normal(0, 2e-4 * np.abs(samples).max(), len(samples))
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def _vowel(random: np.random.Generator, rate: int, pitch_hz: float) -> np.ndarray:
    length = round(rate * random.uniform(0.1, 0.25))
    time = np.arange(length) / rate
    pitch = pitch_hz * random.uniform(0.8, 1.3) * (1 + random.uniform(-0.6, 0.6) * time)
    phase = np.cumsum(pitch) / rate
    samples = np.diff(np.floor(phase), prepend=0.0) + random.normal(0, 0.003, length)
    for formant in FORMANTS_HZ[random.integers(len(FORMANTS_HZ))]:
        radius = np.exp(-np.pi * 90 / rate)
        samples = scipy.signal.lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / rate), radius**2], samples)
    samples *= np.sin(np.pi * np.arange(length) / length) ** 0.7
    return random.uniform(0.3, 1.0) * samples / np.sqrt(np.mean(samples**2))


def _fricative(random: np.random.Generator, rate: int) -> np.ndarray:
    length = round(rate * random.uniform(0.05, 0.12))
    noise = np.diff(random.normal(0, 1, length + 1))
    noise *= np.sin(np.pi * np.arange(length) / length)
    return random.uniform(0.05, 0.2) * noise / np.sqrt(np.mean(noise**2))


def in_16_bits(samples: np.ndarray) -> np.ndarray:
    """Returns samples rounded and limited to 16 bits: float32 of the same shape."""
    return (np.clip(np.round(samples * 32_768), -32_768, 32_767) / 32_768).astype(np.float32)


def in_blocks(samples: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    """Returns samples [n] or [n, channels] as blocks [m, channels], cut at the given positions."""
    return np.split(samples.reshape(len(samples), -1), sorted(min(cut, len(samples)) for cut in cuts))
