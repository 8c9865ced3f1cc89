"""The high-pass removes an offset and leaves speech as it is."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from model.high_pass import BLOCK, CORNER_HZ, HighPass, without_dc


def tone(hertz: float, seconds: float = 2.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


@pytest.mark.parametrize("offset", [0.5, -0.05, 1e-3])
def test_an_offset_leaves_no_trace_and_no_click(offset):
    filtered = without_dc(tone(440) + np.float32(offset))
    np.testing.assert_allclose(filtered, without_dc(tone(440)), atol=2e-3 * abs(offset) + 1e-6)


def test_a_constant_becomes_silence():
    assert np.abs(without_dc(np.full(SAMPLE_RATE, 0.3, np.float32))).max() < 1e-6


@pytest.mark.parametrize(("hertz", "gain_db"), [(2.0, -14.1), (10.0, -3.0), (50.0, 0.0), (100.0, 0.1), (4_000.0, 0.0)])
def test_it_is_a_first_order_filter_with_its_corner_at_10_hz(hertz, gain_db):
    late = slice(SAMPLE_RATE, None)
    samples = tone(hertz, 3.0)
    gain = 20 * np.log10(np.std(without_dc(samples)[late]) / np.std(samples[late]))
    assert gain == pytest.approx(gain_db, abs=0.2)


@given(cuts=st.lists(st.integers(0, 8_000), max_size=5))
def test_blocks_do_not_change_the_result(cuts):
    samples = np.random.default_rng(0).normal(0.1, 0.1, 8_000).astype(np.float32)
    high_pass = HighPass()
    parts = [high_pass.filter(part) for part in np.split(samples, sorted(cuts))]
    np.testing.assert_allclose(np.concatenate([*parts, high_pass.end()]), without_dc(samples), atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 100, 1_599, 1_600, 1_601])
def test_a_short_signal_keeps_its_length(length):
    assert len(without_dc(np.ones(length, np.float32))) == length


@pytest.mark.parametrize("blocks", [101, 1_024, 1_025, 5_000])
def test_it_subtracts_a_recursive_low_pass(blocks):
    samples = np.random.default_rng(0).normal(0.1, 0.1, blocks * BLOCK).astype(np.float32)
    pole = np.exp(-2 * np.pi * CORNER_HZ * BLOCK / SAMPLE_RATE)
    means = samples.reshape(-1, BLOCK).mean(axis=1, dtype=np.float64)
    start = samples[: SAMPLE_RATE // 10].mean(dtype=np.float64)
    offsets, _ = scipy.signal.lfilter([1 - pole], [1, -pole], means, zi=[pole * start])
    # The last sample of a block has the offset after it, without interpolation.
    removed = samples - without_dc(samples)
    np.testing.assert_allclose(removed.reshape(-1, BLOCK)[:, -1], offsets, atol=1e-6)
