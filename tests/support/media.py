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
# Encoders whose default is not 16 bits.
SAMPLE_FORMATS = {"alac": "s16p", "flac": "s16", "wavpack": "s16p", "tta": "s16"}


def encode_media(
    samples: np.ndarray,
    rate: int,
    kind: str | tuple[str, str],
    options: Mapping[str, str] | None = None,
    bit_rate: int = 0,
    sample_format: str | None = None,
    start_s: float = 0.0,
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
        start_s: time of the first sample in the container, in seconds.
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
        sample_format = sample_format or SAMPLE_FORMATS.get(codec)
        if sample_format:
            stream.codec_context.format = sample_format
        stream.codec_context.options = codec_options
        packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, round(start_s * rate), Fraction(1, rate)
        resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        container.close()
        return Path(file.name).read_bytes()


def encode_video(samples: np.ndarray, rate: int, container_name: str, *, default: int = 0, tracks: int = 1) -> bytes:
    """Encodes a video with one picture and the samples as the default one of some audio tracks; the others hold silence."""
    with tempfile.NamedTemporaryFile() as file, av.open(file.name, "w", container_name) as container:
        video: Any = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        streams: list[Any] = [container.add_stream("aac", rate=rate, layout="mono") for _ in range(tracks)]
        for number, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * number, np.uint8), "rgb24")
            container.mux(video.encode(picture))
        for number, stream in enumerate(streams):
            content = samples if number == default else np.zeros_like(samples)
            for start in range(0, len(samples), 1024):
                part = np.ascontiguousarray(content[np.newaxis, start : start + 1024], np.float32)
                frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                container.mux(stream.encode(frame))
        for stream in (video, *streams):
            container.mux(stream.encode(None))
        container.close()
        return Path(file.name).read_bytes()


def flac_of_bits(samples: np.ndarray, rate: int, bits: int) -> bytes:
    """Writes integers [n] as FLAC (RFC 9639) with 8, 12, 16, 20 or 24 bits, uncompressed, in frames of 4096 samples."""
    block = 4_096
    info = f"{block:016b}{block:016b}{0:024b}{0:024b}{rate:020b}{0:03b}{bits - 1:05b}{len(samples):036b}{0:0128b}"
    data = b"fLaC" + b"\x80\0\0\x22" + int(info, 2).to_bytes(34, "big")
    for number, start in enumerate(range(0, len(samples), block)):
        part = samples[start : start + block]
        size_code = {8: 1, 12: 2, 16: 4, 20: 5, 24: 6}[bits]
        header = b"\xff\xf8" + bytes([0x70, size_code << 1, number]) + (len(part) - 1).to_bytes(2, "big")
        assert number < 128
        header += bytes([_crc(header, 8, 0x07)])
        body = "00000010" + "".join(f"{int(sample) & (1 << bits) - 1:0{bits}b}" for sample in part)
        body += "0" * (-len(body) % 8)
        frame = header + int(body, 2).to_bytes(len(body) // 8, "big")
        data += frame + _crc(frame, 16, 0x8005).to_bytes(2, "big")
    return data


def _crc(data: bytes, width: int, polynomial: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << width - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> width - 1 else 0)) & (1 << width) - 1
    return value
