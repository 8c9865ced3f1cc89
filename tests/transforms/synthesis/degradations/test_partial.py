"""A degradation of a part leaves the rest unchanged, and its ends are faded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.speech_like import speech_like
from transforms.synthesis.degradations.partial import FADE, Partial
from transforms.synthesis.degradations.recording import BandLimit, Clipping, Hum
from transforms.synthesis.degradations.transmission import PacketLoss

SPEECH = speech_like(2.0)
DEGRADATIONS = [
    BandLimit(300.0, 3400.0),
    Clipping(12.0),
    Hum(50.0, 0.0, (1.0, 0.5), (0.0, 1.0)),
    PacketLoss(0.2, 2.0, False, 3),
]


@pytest.mark.parametrize("degradation", DEGRADATIONS, ids=lambda item: item.KIND)
@given(start=st.integers(0, 30_000), length=st.integers(320, 20_000))
def test_only_the_part_is_degraded(degradation, start, length):
    end = min(start + length, len(SPEECH))
    whole, part = degradation.apply(SPEECH), Partial(degradation, start, end).apply(SPEECH)
    assert part.samples.dtype == np.float32
    assert np.array_equal(part.samples[:start], SPEECH[:start])
    assert np.array_equal(part.samples[end:], SPEECH[end:])
    inner = slice(start + FADE, end - FADE)
    np.testing.assert_allclose(part.samples[inner], whole.samples[inner], atol=1e-6)
    assert all(start <= first < last <= end for first, last in part.spans)
    inside = [span for span in whole.spans if span[0] < end and span[1] > start]
    assert len(part.spans) == len(inside)


def test_the_ends_are_faded():
    step = np.full(1_000, 0.5, np.float32)
    hum = Hum(50.0, 0.0, (1.0,), (np.pi / 2,))
    part = Partial(hum, 100, 900).apply(step).samples
    assert np.abs(np.diff(part)).max() < 3 / FADE


def test_a_part_is_described_as_its_degradation():
    part = Partial(DEGRADATIONS[0], 0, 100)
    assert (part.KIND, part.detail, part.heard) == ("band_limit", DEGRADATIONS[0].detail, DEGRADATIONS[0].heard)
