"""Extremes of frames equal those of the samples of each frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.audio.frame_extremes import FrameExtremes


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@given(cuts=st.lists(st.integers(0, 20_000), max_size=5), channels=st.integers(1, 3))
def test_blocks_do_not_change_the_extremes(rate, cuts, channels):
    samples = np.random.default_rng(0).normal(size=(20_000, channels)).astype(np.float32)
    meter = FrameExtremes(rate)
    for block in np.split(samples, sorted(cuts)):
        meter.add(block)
    shift = rate * 16 // 1000
    count = len(samples) // shift - 1
    high, low = meter.frames(count)
    for t in range(count):
        frame = samples[t * shift : (t + 2) * shift] if t < count - 1 else samples[t * shift :]
        assert (high[t], low[t]) == (frame.max(), frame.min())


@pytest.mark.parametrize("rate", [11_025, 22_050, 44_100])
def test_a_shift_that_is_no_whole_number_of_samples_loses_no_peak(rate):
    samples = np.zeros((rate, 1), np.float32)
    at = np.arange(100, rate, 997)
    samples[at] = np.linspace(0.1, 0.9, len(at), dtype=np.float32)[:, None]
    meter = FrameExtremes(rate)
    for block in np.array_split(samples, 7):
        meter.add(block)
    high, _ = meter.frames(61)
    for position, value in zip(at.tolist(), samples[at, 0], strict=True):
        frame = min(int(position / rate / 0.016), 60)
        assert high[max(frame - 1, 0) : frame + 1].max() >= value


def test_missing_frames_repeat_the_last_one_and_no_sample_is_zero():
    meter = FrameExtremes(16_000)
    assert [part.tolist() for part in meter.frames(2)] == [[0.0, 0.0], [0.0, 0.0]]
    meter.add(np.full((300, 1), 0.5, np.float32))
    assert meter.frames(3)[0].tolist() == [0.5, 0.5, 0.5]
