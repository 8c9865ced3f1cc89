"""Sample types of FFmpeg's decoders: their bits, and conversion to floats or wider integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

# numpy's names of FFmpeg's sample formats.
_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}


def bits_of(frame: AudioFrame, extradata: bytes | None, coding: str) -> int | None:
    """Returns the bits of integer samples; None for floats, which lossy codings give.

    Args:
        frame: a decoded frame.
        extradata: header of the decoder; None if it has none.
        coding: name of the coding, as in the column `format`.
    """
    kind = np.dtype(_DTYPES[frame.format.name.removesuffix("p")])
    if kind.kind == "f":
        return None
    if coding == "FLAC" and extradata and len(extradata) >= 14:
        return ((extradata[12] & 1) << 4 | extradata[13] >> 4) + 1
    if kind.itemsize < 4:
        return 16
    if coding == "ALAC" and extradata and len(extradata) >= 18:
        return extradata[17]
    return 32


def converted(samples: np.ndarray, dtype: str) -> np.ndarray:
    """Returns samples of any shape as floats with full scale 1.0, or unchanged integers, left-justified in a larger type.

    Args:
        samples: decoded samples.
        dtype: numpy name of the type.

    Raises:
        TypeError: the type does not hold the samples.
    """
    have, want = samples.dtype, np.dtype(dtype)
    if have == want:
        return samples
    if have.kind == "u":
        samples = ((samples.astype(np.int16) - 128) << 8).astype(np.int16)
        have = samples.dtype
    if want.kind == "f":
        return (
            samples.astype(want)
            if have.kind == "f"
            else samples.astype(want) * want.type(2.0 ** (1 - 8 * have.itemsize))
        )
    if have.kind == "i" and want.itemsize >= have.itemsize:
        return samples.astype(want) << 8 * (want.itemsize - have.itemsize)
    raise TypeError(f"samples are {have} and cannot be read as {want}")
