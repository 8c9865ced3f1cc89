"""Lossy coding as libsndfile does it: a recording is encoded, decoded again, and stays where it was in time."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import soundfile
import soxr

from model.features import SAMPLE_RATE

# Peak of what goes into a coder: some headroom for those that overshoot.
CODING_PEAK = 0.7
_FORMATS = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mu-law": ("WAV", "ULAW"),
    "a-law": ("WAV", "ALAW"),
    "gsm": ("WAV", "GSM610"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Coding:
    """A way to code speech.

    Attributes:
        codec: mp3, vorbis, opus, mu-law, a-law or gsm.
        sample_rate: at which it is coded, in Hz.
        setting: kbit/s for mp3 (of average rate) and opus, the quality of -0.1 to 1.0 for vorbis; None for those without
            one.
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
    def options(self) -> dict[str, Any]:
        """What libsndfile is told, whose compression level is 0 to 1 for all codecs and no bit rate.

        By its source and by measurement: Opus has 256 to 6 kbit/s a channel, MP3 160 to 8 kbit/s at 16 kHz and 64 to 8
        kbit/s at 8 kHz, both linear in the level; Vorbis has the quality 0.9 less the level. MP3 is of average bit rate:
        its header always tells how many samples to drop, which at a low constant rate finds no place.
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
# What the net and telephones do to speech; one of each family is as likely as one of another.
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
# What is done to recordings that are still taken for clean. Opus takes longest, and stands here once.
GOOD = (
    *(Coding("vorbis", WIDE, quality) for quality in (0.5, 0.6, 0.7, 0.8)),
    *(Coding("mp3", WIDE, kbps) for kbps in (80, 128)),
    Coding("opus", WIDE, 64),
)


def transcode(samples: np.ndarray, coding: Coding) -> np.ndarray:
    """Codes and decodes samples.

    Args:
        samples: float [n], 16 kHz; any level, for it is coded at a peak of `CODING_PEAK` and given its own back.
        coding: how.

    Returns:
        float32 [n], aligned with the samples; silence is returned as it is.
    """
    samples = samples.astype(np.float32, copy=False)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak <= 0.0:
        return samples
    gain = np.float32(CODING_PEAK / peak)
    sent = samples * gain
    if coding.sample_rate != SAMPLE_RATE:
        sent = soxr.resample(sent, SAMPLE_RATE, coding.sample_rate)
    container, subtype = _FORMATS[coding.codec]
    file = io.BytesIO()
    soundfile.write(file, sent, coding.sample_rate, format=container, subtype=subtype, **coding.options)
    file.seek(0)
    heard, _ = soundfile.read(file, dtype="float32")
    if coding.sample_rate != SAMPLE_RATE:
        heard = soxr.resample(heard, coding.sample_rate, SAMPLE_RATE)
    # Coders that work in blocks fill the last one up; resampling there and back may lose a sample.
    heard = np.pad(heard[: len(samples)], (0, max(0, len(samples) - len(heard))))
    return heard / gain
