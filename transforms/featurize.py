"""From an `AudioRef` to a spectrogram, in one step: samples never leave the function that decoded them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from model.features import (
    FRAME_LENGTH,
    FRAME_SHIFT,
    NUM_BINS,
    FeatureConfig,
    FeatureError,
    level_of,
    num_frames,
    spectrogram,
)
from transforms.decode import Decoded, decode_spans, open_audio
from transforms.records import REJECTS, AudioFault, AudioRef, FeaturizedUtterance, Reason, Reject, Stage, Utterance
from transforms.waveform import Waveform

# Two minutes: spectra of more are computed only where they are read.
WHOLE_FRAMES = 7_500


class LongSpectrogram:
    """The spectrogram [T, 257] of a long recording, of which parts are computed when they are asked for."""

    def __init__(self, waveform: Waveform, config: FeatureConfig, level: float) -> None:
        self._waveform, self._config, self._level = waveform, config, level
        self._frames = num_frames(len(waveform))

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, part: slice) -> np.ndarray:
        first, last, _ = part.indices(self._frames)
        if last <= first:
            return np.empty((0, NUM_BINS), np.float32)
        samples = self._waveform.read(first * FRAME_SHIFT, (last - 1) * FRAME_SHIFT + FRAME_LENGTH)
        return spectrogram(samples, self._config, self._level)


def featurize(ref: AudioRef, config: FeatureConfig) -> FeaturizedUtterance:
