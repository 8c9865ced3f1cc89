"""Encodes recordings with PyAV, in containers and codings that libsndfile does not write."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
# Container and encoder of each kind of file, with the name in the column `format`.
MEDIA = {
    "m4a": ("ipod", "aac", "MP4/AAC"),
    "mp4": ("mp4", "aac", "MP4/AAC"),
    "alac": ("ipod", "alac", "MP4/ALAC"),
    "aac": ("adts", "aac", "ADTS/AAC"),
    "wma": ("asf", "wmav2", "ASF/WMAV2"),
    "webm": ("webm", "libopus", "MATROSKA/OPUS"),
    "mka": ("matroska", "flac", "MATROSKA/FLAC"),
    "oga": ("ogg", "flac", "OGG/FLAC"),
    "wv": ("wv", "wavpack", "WV/WAVPACK"),
    "tta": ("tta", "tta", "TTA/TTA"),
    "amr": ("amr", "libopencore_amrnb", "AMR/AMR_NB"),
    "ac3": ("ac3", "ac3", "AC3/AC3"),
    "ts": ("mpegts", "aac", "MPEG_TS/AAC"),
}


def encode_media(
    samples: np.ndarray,
    rate: int,
    kind: str | tuple[str, str],
    options: Mapping[str, str] | None = None,
    bit_rate: int = 0,
    sample_format: str | None = None,
    **codec_options: str,
) -> bytes:
    """Encodes samples.

    Args:
        samples: floats [n] or [n, channels] with full scale 1.0.
        rate: sampling rate in Hz.
        kind: a key of `MEDIA`, or FFmpeg's names of the container and the encoder.
        options: options of the container.
        bit_rate: bits per second; 0 for the encoder's default.
        sample_format: FFmpeg's name of the sample format to encode from; None for the encoder's default.
        codec_options: options of the encoder.
    """
    container_name, codec = MEDIA[kind][:2] if isinstance(kind, str) else kind
    samples = samples[:, np.newaxis] if samples.ndim == 1 else samples
    layout = LAYOUTS[samples.shape[1]]
    # Some options make the muxer open the file again, by its name.
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", container_name, dict(options or {})) as container,
    ):
        stream: Any = container.add_stream(codec, rate=rate, layout=layout)
        if bit_rate or codec.startswith("wma"):
            stream.bit_rate = bit_rate or 64_000 * samples.shape[1]
        if sample_format:
            stream.codec_context.format = sample_format
        stream.codec_context.options = codec_options
        packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        container.close()
        return Path(file.name).read_bytes()
