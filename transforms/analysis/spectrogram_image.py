"""Computes the spectrogram of a recording of any length with a limited number of columns, for a figure."""

from __future__ import annotations

import numpy as np

from model.features import FRAME_LENGTH, FRAME_SHIFT, NUM_BINS, FeatureConfig, num_frames, spectrogram
from transforms.audio.waveform import Waveform

# Largest number of columns of a figure. In a longer recording, several frames share a column.
COLUMNS = 1_000
# Frames whose spectra are in memory at the same time.
BLOCK_FRAMES = 4_096
_MAGNITUDE = FeatureConfig(compression="magnitude", level="none")


def reduced_db(waveform: Waveform, columns: int = COLUMNS) -> np.ndarray:
    """Returns the spectrogram of a recording with at most `columns` columns.

    The recording is processed in blocks, so that memory does not grow with its length.

    Args:
        waveform: samples at 16 kHz, at least one frame.
        columns: largest number of columns.

    Returns:
        Mean power of the frames of each column, in dB [C, 257].
    """
    edges = column_edges(num_frames(len(waveform)), columns)
    power = np.empty((len(edges) - 1, NUM_BINS))
    first = 0
    while first < len(power):
        # The columns that fit into a block, at least one.
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
    """Returns the first frame of each column and the end of the last.

    Args:
        count: number of frames.
        columns: number of columns; if there are fewer frames, each frame is a column.
    """
    columns = min(columns, count)
    return np.arange(columns + 1) * count // columns
