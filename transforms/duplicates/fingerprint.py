"""Acoustic fingerprint of an utterance: landmarks that a copy shares after coding, resampling, a gain and small cuts.

The codes are those of Haitsma and Kalker (2002), taken only where they are reliable: a bit for each two adjacent bands says
whether their difference in level rises or falls. A frame is a landmark if even the smallest of these changes is large, because
a codec does not turn it round there.
"""

from __future__ import annotations

import functools

import numpy as np

from model.features import FRAME_SHIFT, NUM_BINS, SAMPLE_RATE, FeatureConfig

# A landmark is an integer: its code in the upper bits, and the number of its frame in the utterance in the lower ones.
CODE_BITS, FRAME_BITS = 16, 24
FRAMES_PER_S = SAMPLE_RATE / FRAME_SHIFT
# Landmarks come from the middle 20 s of a recording, so that their number is limited.
LONGEST_FRAMES = 1_250
# With fewer landmarks there is not enough sound to compare.
FEWEST = 6
# Telephones and low sampling rates keep these frequencies.
_LOWEST_HZ, _HIGHEST_HZ = 250.0, 3_450.0
# Frames over which a power is averaged, and frames between two averages that are compared.
_AVERAGED, _APART = 16, 12
# Frames of one product of matrices. OpenBLAS uses threads for larger ones, which then wait actively for the next one and took a
# quarter of all CPU time.
_PRODUCT_FRAMES = 96
# Frames on both sides of a landmark in which no other is more reliable.
_AROUND = 3
# Power that is added to all bands, relative to their mean. It makes the noise of codecs in pauses unreliable.
_FLOOR = 0.01
# Smallest change of a landmark (natural logarithm). It excludes steady tones and noise.
_LEAST_CHANGE = 0.02


def middle(count: int) -> slice:
    """Returns the frames of a recording that its fingerprint is made from.

    Args:
        count: number of frames of the recording.
    """
    first = max((count - LONGEST_FRAMES) // 2, 0)
    return slice(first, min(first + LONGEST_FRAMES, count))


def fingerprint(features: np.ndarray, config: FeatureConfig, first_frame: int = 0) -> tuple[int, ...] | None:
    """Returns the landmarks of an utterance in the order of time, about 6 for each second; None without enough sound.

    Args:
        features: spectrogram of the frames in `middle`: float32 [T, 257].
        config: definition of the spectrogram.
        first_frame: number of the first of these frames in the utterance.
    """
    if len(features) <= _AVERAGED + _APART:
        return None
    used = features[:, _used_bins()]
    magnitude = np.exp(used) if config.compression == "log" else used
    squared, starts = np.square(magnitude), range(0, len(features), _PRODUCT_FRAMES)
    # Bands come first, which is three times as fast as frames first.
    power = np.concatenate([_band_matrix() @ squared[start : start + _PRODUCT_FRAMES].T for start in starts], axis=1)
    total = np.cumsum(power, axis=1, dtype=np.float64)
    mean = total[:, -1].mean() / len(features)
    if not mean > 0:
        return None
    averaged = np.log(total[:, _AVERAGED:] - total[:, :-_AVERAGED] + _AVERAGED * _FLOOR * mean, dtype=np.float32)
    slope = averaged[1:] - averaged[:-1]
    change = slope[:, _APART:] - slope[:, :-_APART]
    positions = _peaks(np.abs(change).min(axis=0))
    if len(positions) < FEWEST:
        return None
    codes = (1 << np.arange(CODE_BITS)) @ (change[:, positions] > 0)
    return tuple((codes << FRAME_BITS | positions + first_frame).tolist())


def _peaks(values: np.ndarray) -> np.ndarray:
    """Returns the positions of the values that are the largest within `_AROUND` positions, and large enough."""
    padded = np.zeros(len(values) + 2 * _AROUND, values.dtype)  # `np.pad` takes eight times as long
    padded[_AROUND:-_AROUND] = values
    largest = np.max([padded[shift : shift + len(values)] for shift in range(2 * _AROUND + 1)], axis=0)
    return np.flatnonzero((values == largest) & (values > _LEAST_CHANGE))


@functools.cache
def _used_bins() -> slice:
    bins_per_hz = (NUM_BINS - 1) / (SAMPLE_RATE / 2)
    return slice(int(_LOWEST_HZ * bins_per_hz), int(_HIGHEST_HZ * bins_per_hz) + 2)


@functools.cache
def _band_matrix() -> np.ndarray:
    """Returns the share of each used bin in each band: float32 [17, bins]. The bands are equally wide on the mel scale."""
    mel = np.linspace(np.log1p(_LOWEST_HZ / 700), np.log1p(_HIGHEST_HZ / 700), CODE_BITS + 2)
    edges = 700 * np.expm1(mel) * (NUM_BINS - 1) / (SAMPLE_RATE / 2)
    used = np.arange(NUM_BINS)[_used_bins()]
    share = np.minimum(used + 0.5, edges[1:, np.newaxis]) - np.maximum(used - 0.5, edges[:-1, np.newaxis])
    return np.maximum(share, 0).astype(np.float32)
