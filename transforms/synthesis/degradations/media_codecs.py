"""Encodes and decodes recordings with codecs of FFmpeg through PyAV (the extra `media`), without a container."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import soxr

INSTALL = "pip install 'audiosieve[media]'"
# Frame length of encoders that take any, in seconds.
FRAME_S = 0.020


@dataclasses.dataclass(frozen=True, slots=True)
class MediaCodec:
    """A codec of FFmpeg.

    Attributes:
        encoder: name of the encoder.
        decoder: name of the decoder.
        sample_format: samples that the encoder takes: s16 or flt, with a p at the end for planes.
        delay: samples by which the decoded signal lags, at the rate of the decoder's input.
        encoder_options: options of the encoder.
        bits_option: option of the decoder that takes the bits of a code word; None if it needs none.
    """

    encoder: str
    decoder: str
    sample_format: str
    delay: int = 0
    encoder_options: tuple[tuple[str, str], ...] = ()
    bits_option: str | None = None


# The delays are those of the filter banks and of the look-ahead, measured by cross-correlation.
MEDIA_CODECS = {
    "amr-nb": MediaCodec("libopencore_amrnb", "amrnb", "s16", 40),
    "g.722": MediaCodec("g722", "g722", "s16", 22, bits_option="bits_per_codeword"),
    "g.723.1": MediaCodec("g723_1", "g723_1", "s16", 60),
    "g.726": MediaCodec("g726", "g726", "s16", bits_option="bits_per_coded_sample"),
    "realaudio": MediaCodec("real_144", "real_144", "s16", 160),
    "sbc": MediaCodec("sbc", "sbc", "s16p", 73),
    "nellymoser": MediaCodec("nellymoser", "nellymoser", "flt", 128),
    "aac": MediaCodec("aac", "aac", "fltp", 1_024),
    "mp2": MediaCodec("mp2", "mp2", "s16", 481),
    # The decoder drops the delay that the encoder states.
    "opus-voip": MediaCodec("libopus", "libopus", "s16", 0, (("application", "voip"),)),
}


def missing_encoders() -> list[str]:
    """Returns what the codecs need and this machine lacks: PyAV, or encoders of its FFmpeg."""
    if importlib.util.find_spec("av") is None:
        return ["PyAV"]
    from av.codec import codecs_available

    return sorted({codec.encoder for codec in MEDIA_CODECS.values()} - codecs_available)


def recode(samples: np.ndarray, sample_rate: int, codec: MediaCodec, kbps: float) -> np.ndarray:
    """Encodes and decodes samples.

    Args:
        samples: recording: float32 [n], absolute values under 1.0.
        sample_rate: its sampling rate in Hz, which the codec must support.
        codec: the codec.
        kbps: bit rate in kbit/s.

    Returns:
        Decoded recording, aligned with `samples`, at the same rate: float32 [m], m >= n.
    """
    encoder = _context(codec.encoder, "w", sample_rate, dict(codec.encoder_options))
    encoder.format, encoder.bit_rate = codec.sample_format, round(kbps * 1_000)
    encoder.time_base = Fraction(1, sample_rate)
    encoder.open()
    # G.722 and G.726 code 8,000 words a second.
    decoder = _context(
        codec.decoder, "r", sample_rate, {codec.bits_option: str(round(kbps / 8))} if codec.bits_option else {}
    )
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    frame_size = encoder.frame_size or round(FRAME_S * sample_rate)
    packets = [packet for frame in _frames(samples, sample_rate, codec, frame_size) for packet in encoder.encode(frame)]
    frames = [frame for packet in (*packets, *encoder.encode(None), None) for frame in decoder.decode(packet)]
    decoded = np.concatenate([_float(frame.to_ndarray()) for frame in frames])
    if frames[0].sample_rate != sample_rate:
        decoded = soxr.resample(decoded, frames[0].sample_rate, sample_rate)
    return decoded[codec.delay :]


def _context(name: str, mode: Literal["r", "w"], sample_rate: int, options: dict[str, str]) -> Any:
    """Returns a mono encoder ("w") or decoder ("r") in one thread, not yet open."""
    import av.logging
    from av.codec import Codec, CodecContext

    av.logging.set_level(None)
    context: Any = CodecContext.create(Codec(name, mode), mode)
    context.sample_rate, context.layout, context.options = sample_rate, "mono", options
    context.thread_count = 1
    return context


def _frames(samples: np.ndarray, sample_rate: int, codec: MediaCodec, frame_size: int) -> Iterator[Any]:
    """Cuts samples into frames, with zeros at the end that push all of them through the delay."""
    from av import AudioFrame

    count = -(-(len(samples) + codec.delay) // frame_size) + 1
    padded = np.pad(samples, (0, count * frame_size - len(samples)))
    if codec.sample_format.startswith("s16"):
        padded = np.round(padded * np.float32(32_767)).astype(np.int16)
    for start in range(0, len(padded), frame_size):
        frame = AudioFrame.from_ndarray(padded[np.newaxis, start : start + frame_size], codec.sample_format, "mono")
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
        yield frame


def _float(samples: np.ndarray) -> np.ndarray:
    """Returns decoded samples [1, n] as float32 [n], full scale 1.0."""
    return samples[0].astype(np.float32) / (32_768 if samples.dtype == np.int16 else 1)
