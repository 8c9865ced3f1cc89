"""Encodes and decodes recordings with lossy codecs of libsndfile, without changing their timing."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import soundfile
import soxr

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import audible

# Peak before encoding; some codecs overshoot and need the headroom.
CODING_PEAK = 0.7
_FORMATS = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mu-law": ("WAV", "ULAW"),
    "a-law": ("WAV", "ALAW"),
    "gsm": ("WAV", "GSM610"),
}

# Negative settings from which a coding may be heard, and is surely heard.
_AUDIBLE = {"mp3": (-56.0, -32.0), "vorbis": (-0.35, -0.05), "opus": (-40.0, -16.0)}


@dataclasses.dataclass(frozen=True, slots=True)
class Coding:
    """A codec with its settings.

    Attributes:
        codec: mp3, vorbis, opus, mu-law, a-law or gsm.
        sample_rate: sampling rate of the coded signal in Hz.
        setting: bit rate in kbit/s for mp3 (average) and opus, quality from -0.1 to 1.0 for vorbis; None for the others.
    """

    codec: str
    sample_rate: int
    setting: float | None = None

    def __str__(self) -> str:
        setting = ""
        if self.setting is not None:
            setting = f" quality {self.setting:g}" if self.codec == "vorbis" else f" {self.setting:g} kbit/s"
        return f"{self.codec}{setting} at {self.sample_rate // 1000} kHz"

    @property
    def audible(self) -> bool | None:
        """Whether listeners would hear the coding, apart from a narrow band; None if that is uncertain."""
        if self.setting is None:
            return True if self.codec == "gsm" else None
        return audible(-self.setting, *_AUDIBLE[self.codec])

    @property
    def options(self) -> dict[str, Any]:
        """Options of libsndfile, which takes a compression level from 0 to 1 instead of a bit rate.

        According to its source and to measurements, the bit rate is linear in the level: 256 to 6 kbit/s a channel for Opus,
        160 to 8 kbit/s for MP3 at 16 kHz, and 64 to 8 kbit/s for MP3 at 8 kHz. The quality of Vorbis is 0.9 minus the level.
        MP3 uses an average bit rate, because frames of a low constant rate are too small for the header, which holds the
        padding to drop.
        """
        if self.setting is None:
            return {}
        if self.codec == "vorbis":
            return {"compression_level": 0.9 - self.setting}
        if self.codec == "opus":
            return {"compression_level": 1 - (self.setting - 6) / 250}
        highest = 160 if self.sample_rate == SAMPLE_RATE else 64
        return {"compression_level": (highest - self.setting) / (highest - 8), "bitrate_mode": "AVERAGE"}


WIDE, NARROW = SAMPLE_RATE, 8_000
# Codecs of the internet and of telephones. Each family is drawn equally often.
LOSSY = (
    (
        *(Coding("mp3", WIDE, kbps) for kbps in (12, 16, 24, 32, 48)),
        *(Coding("mp3", NARROW, kbps) for kbps in (10, 16)),
    ),
    (*(Coding("opus", WIDE, kbps) for kbps in (8, 12, 16, 24)), *(Coding("opus", NARROW, kbps) for kbps in (8, 12))),
    (*(Coding("vorbis", WIDE, quality) for quality in (-0.1, 0.1)), Coding("vorbis", NARROW, -0.1)),
    (Coding("mu-law", NARROW), Coding("a-law", NARROW)),
    (Coding("gsm", NARROW),),
)
# Codecs of recordings that still count as clean. Opus occurs only once, because it is the slowest.
GOOD = (
    *(Coding("vorbis", WIDE, quality) for quality in (0.5, 0.6, 0.7, 0.8)),
    *(Coding("mp3", WIDE, kbps) for kbps in (80, 128)),
    Coding("opus", WIDE, 64),
)


def transcode(samples: np.ndarray, coding: Coding) -> np.ndarray:
    """Encodes and decodes samples.

    Args:
        samples: recording at 16 kHz, of any level: float [n]. It is coded at a peak of `CODING_PEAK`.
        coding: codec and settings.

    Returns:
        Decoded recording at its own level, aligned with `samples`: float32 [n]. Silence is returned unchanged.
    """
    samples = samples.astype(np.float32, copy=False)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak <= 0.0:
        return samples
    gain = np.float32(CODING_PEAK / peak)
    encoded = samples * gain
    if coding.sample_rate != SAMPLE_RATE:
        encoded = soxr.resample(encoded, SAMPLE_RATE, coding.sample_rate)
    container, subtype = _FORMATS[coding.codec]
    file = io.BytesIO()
    soundfile.write(file, encoded, coding.sample_rate, format=container, subtype=subtype, **coding.options)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    if coding.sample_rate != SAMPLE_RATE:
        decoded = soxr.resample(decoded, coding.sample_rate, SAMPLE_RATE)
    # Block codecs pad the last block; resampling twice may lose a sample.
    decoded = np.pad(decoded[: len(samples)], (0, max(0, len(samples) - len(decoded))))
    return decoded / gain
