"""Lost packets are replaced by what surrounds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.concealment import PACKET, PITCH_OVERLAP, Concealment, conceal

NOISE = np.random.default_rng(0).normal(size=10 * PACKET).astype(np.float32)


def test_a_silent_packet_is_zero():
    assert not conceal(NOISE, [(PACKET, 2 * PACKET)], Concealment.SILENT)[PACKET : 2 * PACKET].any()


def test_a_repeated_packet_fades():
    concealed = conceal(NOISE, [(PACKET, 3 * PACKET)], Concealment.REPEATED).reshape(-1, PACKET)
    np.testing.assert_allclose(concealed[1], 0.7 * concealed[0], rtol=1e-5)
    np.testing.assert_allclose(concealed[2], 0.49 * concealed[0], rtol=1e-5)


def test_an_interpolated_packet_turns_from_the_one_before_into_the_one_after():
    concealed = conceal(NOISE, [(PACKET, 2 * PACKET)], Concealment.INTERPOLATED).reshape(-1, PACKET)
    share = np.arange(1, PACKET + 1) / (PACKET + 1)
    np.testing.assert_allclose(concealed[1], (1 - share) * concealed[0] + share * concealed[2], atol=1e-5)


@pytest.mark.parametrize("frequency", [80.0, 130.0, 250.0, 390.0])
def test_repeated_pitch_periods_continue_a_voice(frequency):
    time = np.arange(10 * PACKET) / SAMPLE_RATE
    voice = sum(np.cos(2 * np.pi * n * frequency * time + n) / n for n in range(1, 8)).astype(np.float32)
    start, held = 5 * PACKET, SAMPLE_RATE // 100
    concealed = conceal(voice, [(start, start + PACKET)], Concealment.PITCH)
    error = concealed[start : start + held] - voice[start : start + held]
    assert np.mean(error**2) < 0.03 * np.mean(voice**2)
    repeated = conceal(voice, [(start, start + PACKET)], Concealment.REPEATED)[start : start + held]
    assert np.mean(error**2) < 0.2 * np.mean((repeated - voice[start : start + held]) ** 2)


def test_repeated_pitch_periods_end_after_60_ms_and_the_next_packet_is_faded_in():
    concealed = conceal(NOISE, [(2 * PACKET, 7 * PACKET)], Concealment.PITCH)
    assert concealed[4 * PACKET : 5 * PACKET - 1].any()
    assert not concealed[5 * PACKET : 7 * PACKET].any()
    gain = concealed[7 * PACKET : 7 * PACKET + PITCH_OVERLAP] / NOISE[7 * PACKET : 7 * PACKET + PITCH_OVERLAP]
    assert np.all(np.diff(gain) > 0)


@pytest.mark.parametrize("concealment", [Concealment.REPEATED, Concealment.PITCH])
def test_the_first_packet_has_none_to_repeat(concealment):
    assert not conceal(NOISE, [(0, PACKET)], concealment)[:PACKET].any()


@given(
    packets=st.lists(st.booleans(), min_size=1, max_size=12),
    cut=st.integers(0, PACKET - 1),
    concealment=st.sampled_from(Concealment),
)
def test_a_lost_sample_has_no_influence(packets, cut, concealment):
    length = len(packets) * PACKET - cut
    lost = np.repeat(packets, PACKET)[:length]
    spans = [(n * PACKET, min((n + 1) * PACKET, length)) for n, is_lost in enumerate(packets) if is_lost]
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        merged = [*merged[:-1], (merged[-1][0], end)] if merged and merged[-1][1] == start else [*merged, (start, end)]
    samples = np.resize(NOISE, length)
    concealed = conceal(samples, merged, concealment)
    assert np.isfinite(concealed).all()
    assert np.array_equal(concealed, conceal(np.where(lost, np.float32(9), samples), merged, concealment))
