"""Decodes samples that are already in memory."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from transforms.audio.decode import decode
from transforms.audio.span_reader import Decoded

# libsndfile codings that hold the samples of an array without loss.
_CODINGS = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}


def decode_array(samples: np.ndarray, sample_rate: float | None) -> Decoded:
    """Decodes an array exactly as the same samples in a file.

    Args:
        samples: [n] or [n, channels]: floats with full scale 1.0, or int16 or int32.
        sample_rate: sampling rate in Hz, a whole number above 0.

    Raises:
        AudioFault: the samples are too short, silent or not finite.
        ScratchError: the temporary file of a long recording cannot be written.
        TypeError: the sample rate is missing, or the samples are of another type.
        ValueError: the sample rate or the shape of the samples is invalid.
    """
    if sample_rate is None:
        raise TypeError("sample_rate is missing; an array needs it")
    if not sample_rate > 0 or sample_rate != int(sample_rate):
        raise ValueError(f"sample_rate is {sample_rate}; must be a whole number of Hz above 0")
    if samples.ndim not in (1, 2):
        raise ValueError(f"samples have the shape {list(samples.shape)}; must be [n] or [n, channels]")
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0] > 0:
        raise ValueError(f"samples have the shape {list(samples.shape)}; must be [n, channels]: transpose them with .T")
    if np.issubdtype(samples.dtype, np.floating) and samples.dtype.name not in _CODINGS:
        samples = samples.astype(np.float32)
    if samples.dtype.name not in _CODINGS:
        raise TypeError(f"samples are {samples.dtype}; must be floats with full scale 1.0, int16 or int32")
    file = io.BytesIO()
    # RF64 is WAV without its limit of 4 GB.
    soundfile.write(file, samples, int(sample_rate), subtype=_CODINGS[samples.dtype.name], format="RF64")
    file.seek(0)
    return decode(file)
