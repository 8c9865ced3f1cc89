"""The spectrogram of a recording of any length in as many columns as a picture has room for."""

from __future__ import annotations

import numpy as np

from model.features import FRAME_LENGTH, FRAME_SHIFT, NUM_BINS, FeatureConfig, num_frames, spectrogram
from transforms.audio.waveform import Waveform

# What is told apart along the time of a figure; of a longer recording several frames become one.
COLUMNS = 1_000
# Frames whose spectrum is in memory at a time.
BLOCK_FRAMES = 4_096
_MAGNITUDE = FeatureConfig(compression="magnitude", level="none")


def reduced_db(waveform: Waveform, columns: int = COLUMNS) -> np.ndarray:
    """The spectrogram of a recording in as many columns at most: mean power of the frames of each, in dB [C, 257].

    It is worked through in blocks: memory does not grow with the length of the recording.

    Args:
        waveform: one frame long at least.
        columns: at most.
    """
    edges = column_edges(num_frames(len(waveform)), columns)
    power = np.empty((len(edges) - 1, NUM_BINS))
    first = 0
    while first < len(power):
        # As many columns as fit into a block, and one at least.
        last = max(first + 1, int(np.searchsorted(edges, edges[first] + BLOCK_FRAMES, side="right")) - 1)
        last = min(last, len(power))
        begin, end = int(edges[first]), int(edges[last])
        samples = waveform.read(begin * FRAME_SHIFT, (end - 1) * FRAME_SHIFT + FRAME_LENGTH)
        squared = np.square(spectrogram(samples, _MAGNITUDE), dtype=np.float64)
        sizes = np.diff(edges[first : last + 1])
        power[first:last] = np.add.reduceat(squared, edges[first:last] - begin) / sizes[:, None]
        first = last
    return 10 * np.log10(np.maximum(power, 1e-20))


def column_edges(count: int, columns: int) -> np.ndarray:
    """Where the columns of `count` frames begin, and where the last ends: as many as asked for, or one for each frame."""
    columns = min(columns, count)
    return np.arange(columns + 1) * count // columns
