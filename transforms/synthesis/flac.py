"""Clips as FLAC files, as a training set stores them."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from model.features import SAMPLE_RATE


def encode_flac(samples: np.ndarray) -> bytes:
    """Returns samples [n] at 16 kHz, full scale 1.0, as a FLAC file of 16 bits."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(audio: bytes) -> np.ndarray:
    """Returns the samples of such a file: float32 [n], full scale 1.0."""
    samples: np.ndarray = soundfile.read(io.BytesIO(audio), dtype="float32")[0]
    return samples
