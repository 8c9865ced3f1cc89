"""The mean of the channels, which is computed channel by channel."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.audio.mono import mean_of_channels


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_it_is_the_mean_of_the_channels(channels: int) -> None:
    block = np.random.default_rng(channels).uniform(-1, 1, (1000, channels)).astype(np.float32)
    mono = mean_of_channels(block)
    assert mono.dtype == np.float32
    np.testing.assert_allclose(mono, block.mean(axis=1, dtype=np.float64), atol=2e-7)
    assert np.shares_memory(mono, block) == (channels == 1)


def test_no_samples_have_no_mean() -> None:
    assert mean_of_channels(np.empty((0, 2), np.float32)).shape == (0,)
