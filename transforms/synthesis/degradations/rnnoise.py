"""Noise suppression by RNNoise, a small recurrent network (Valin, MMSP 2018), if the optional package with it is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import soxr

from model.features import SAMPLE_RATE

# The network works at this rate, and its output is this many samples late.
NETWORK_RATE, DELAY = 48_000, 960
# Peak of the samples that the network gets, so that its gains do not depend on the level of the recording.
PEAK = 16_000


def rnnoise_installed() -> bool:
    """Returns whether the optional package with the network is installed."""
    return importlib.util.find_spec("pyrnnoise") is not None


def denoise(samples: np.ndarray) -> np.ndarray:
    """Returns what the network leaves of a recording, aligned with it and at its level: float32 [n].

    Args:
        samples: recording at 16 kHz: float32 [n], of any level, but not silent.

    Raises:
        ImportError: the optional package is not installed.
    """
    from pyrnnoise.rnnoise import FRAME_SIZE, create, destroy, process_mono_frame

    scale = np.float32(PEAK / np.abs(samples).max())
    raised = soxr.resample(samples * scale, SAMPLE_RATE, NETWORK_RATE)
    count = -(-(len(raised) + DELAY) // FRAME_SIZE)
    padded = np.pad(raised, (0, count * FRAME_SIZE - len(raised)))
    frames = np.clip(np.round(padded), -32_768, 32_767).astype(np.int16).reshape(count, FRAME_SIZE)
    state = create()
    try:
        cleaned = np.concatenate([process_mono_frame(state, frame)[0] for frame in frames])
    finally:
        destroy(state)
    lowered = soxr.resample(cleaned[DELAY:].astype(np.float32), NETWORK_RATE, SAMPLE_RATE)
    return np.asarray(np.pad(lowered, (0, max(0, len(samples) - len(lowered))))[: len(samples)] / scale, np.float32)
