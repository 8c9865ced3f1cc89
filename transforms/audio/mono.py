"""Mixes the channels of samples down to one."""

from __future__ import annotations

import functools

import numpy as np


def mean_of_channels(block: np.ndarray) -> np.ndarray:
    """Returns the mean of the channels: float32 [n]; a view of the samples if there is one channel.

    Sums of whole channels take a tenth of the time of `mean`, which numpy computes sample by sample along a short axis.

    Args:
        block: samples: float32 [n, channels].
    """
    channels = block.T
    return channels[0] if len(channels) == 1 else functools.reduce(np.add, channels) / np.float32(len(channels))
