"""Filters shape the spectrum without a delay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.synthesis.spectral_filters import high_pass, low_pass, shape_spectrum


@pytest.mark.parametrize("order", [1, 4, 16])
def test_the_cut_off_is_at_minus_3_db_and_the_slope_is_6_db_an_octave_per_order(order):
    for response, passed, cut, octave in ((low_pass, 100.0, 1_000.0, 2.0), (high_pass, 8_000.0, 1_000.0, 0.5)):
        levels = 20 * np.log10(response(np.array([passed, cut, cut * octave**2, cut * octave**3]), cut, order))
        assert levels[0] == pytest.approx(0.0, abs=0.1)
        assert levels[1] == pytest.approx(-3.0, abs=0.02)
        assert levels[2] - levels[3] == pytest.approx(6.02 * order, abs=0.3)


def test_a_high_pass_removes_a_constant():
    assert high_pass(np.zeros(1), 60.0, 1)[0] == 0.0


@given(length=st.integers(1, 5_000), seed=st.integers(0, 99))
def test_a_gain_of_one_leaves_the_signal_unchanged(length, seed):
    samples = np.random.default_rng(seed).normal(size=length).astype(np.float32)
    shaped = shape_spectrum(samples, np.ones_like)
    assert shaped.dtype == np.float32
    np.testing.assert_allclose(shaped, samples, atol=1e-5)


def test_an_impulse_keeps_its_position_and_does_not_wrap_around():
    samples = np.zeros(4_000, np.float32)
    samples[10] = 1.0
    shaped = shape_spectrum(samples, lambda f: low_pass(f, 3_400.0, 16) * high_pass(f, 300.0, 4))
    assert np.argmax(np.abs(shaped)) == 10
    assert np.abs(shaped[-1_000:]).max() < 1e-4
