"""Removes the DC offset of a signal, which nobody hears and which levels and features would count as sound."""

from __future__ import annotations

import math

import numpy as np

from model.features import SAMPLE_RATE

# Corner of the filter in Hz. It lies below speech and below the second bin of a spectrum (31 Hz).
CORNER_HZ = 10.0
# Start of the recording whose mean is the offset before the recording: 100 ms.
START_SAMPLES = SAMPLE_RATE // 10
# The offset is filtered in blocks of 1 ms and interpolated in between. A filter of single samples takes three times as long.
BLOCK = 16
_POLE = math.exp(-2 * math.pi * CORNER_HZ * BLOCK / SAMPLE_RATE)
_RAMP = np.arange(1, BLOCK + 1, dtype=np.float32) / BLOCK
_INTERPOLATION = np.stack([1 - _RAMP, _RAMP])
_MEAN = np.full(BLOCK, 1 / BLOCK, np.float32)
# Blocks of a group. The low-pass of a group is a product of matrices, because `scipy.signal`, which has a recursive filter,
# takes 0.7 s to import.
GROUP = 64
_DECAY = _POLE ** np.arange(1, GROUP + 1)
_RESPONSE = (1 - _POLE) * np.triu(_POLE ** np.abs(np.subtract.outer(np.arange(GROUP), np.arange(GROUP))))


class HighPass:
    """First-order high-pass at 10 Hz, which filters a signal at 16 kHz block by block.

    It subtracts the output of a first-order low-pass. This starts with the mean of the first 100 ms, so that an offset makes no
    click. The filter keeps samples back until it has 100 ms, and then up to 1 ms. Blocks do not change the result.
    """

    def __init__(self) -> None:
        self._waiting = np.empty(0, np.float32)
        self._offset: float | None = None

    def filter(self, samples: np.ndarray) -> np.ndarray:
        """Returns the next samples without their DC offset, as far as they are known: float32 [n]."""
        samples = np.concatenate([self._waiting, samples]) if len(self._waiting) else samples
        if self._offset is None:
            if len(samples) < START_SAMPLES:
                self._waiting = samples
                return np.empty(0, np.float32)
            self._offset = float(samples[:START_SAMPLES].mean(dtype=np.float64))
        whole = len(samples) // BLOCK * BLOCK
        self._waiting = samples[whole:].copy()
        return self._filter(samples[:whole].reshape(-1, BLOCK), self._offset)

    def end(self) -> np.ndarray:
        """Returns the samples that were kept back: float32 [n]. Call it after the last block."""
        samples, self._waiting = self._waiting, np.empty(0, np.float32)
        if not len(samples):
            return samples
        offset = float(samples.mean(dtype=np.float64)) if self._offset is None else self._offset
        padding = np.full(-len(samples) % BLOCK, samples[-1])
        blocks = np.concatenate([samples, padding]).reshape(-1, BLOCK)
        return self._filter(blocks, offset)[: len(samples)]

    def _filter(self, blocks: np.ndarray, offset: float) -> np.ndarray:
        """Filters blocks, float32 [b, 16], with the low-pass at `offset`, and returns their samples: float32 [16 b]."""
        if not len(blocks):
            return np.empty(0, np.float32)
        means = blocks @ _MEAN
        after = _low_pass(means, offset)
        before = np.concatenate([[offset], after[:-1]])
        self._offset = float(after[-1])
        # The product is the offset of each sample, interpolated within its block.
        return (blocks - np.stack([before, after], axis=1).astype(np.float32) @ _INTERPOLATION).reshape(-1)


def _low_pass(values: np.ndarray, before: float) -> np.ndarray:
    """Returns values [n], filtered by the first-order low-pass whose last output was `before`: float64 [n]."""
    groups = np.zeros((math.ceil(len(values) / GROUP), GROUP))
    groups.reshape(-1)[: len(values)] = values
    filtered = groups @ _RESPONSE
    outputs_before = []
    for last in filtered[:, -1].tolist():
        outputs_before.append(before)
        before = last + float(_DECAY[-1]) * before
    filtered += np.outer(outputs_before, _DECAY)
    return filtered.reshape(-1)[: len(values)]


def without_dc(samples: np.ndarray) -> np.ndarray:
    """Returns a whole signal at 16 kHz without its DC offset: float32 [n]."""
    high_pass = HighPass()
    return np.concatenate([high_pass.filter(np.asarray(samples, np.float32)), high_pass.end()])
