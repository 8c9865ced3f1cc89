"""Encodes and decodes recordings with lossy codecs of libsndfile and FFmpeg, without changing their timing."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import numpy as np
import soundfile
import soxr

from model.features import SAMPLE_RATE
from transforms.synthesis.degradations.base import audible
from transforms.synthesis.degradations.media_codecs import MEDIA_CODECS, recode

WIDE, NARROW = SAMPLE_RATE, 8_000
# Peak before encoding; some codecs overshoot and need the headroom.
CODING_PEAK = 0.7
_FORMATS = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mu-law": ("WAV", "ULAW"),
    "a-law": ("WAV", "ALAW"),
    "gsm": ("WAV", "GSM610"),
    "ima-adpcm": ("WAV", "IMA_ADPCM"),
}

# Telephone codecs that keep the waveform so well that listeners may hear nothing but the narrow band.
_GOOD_WAVEFORM = {"mu-law", "a-law"}
# Highest settings at which a coding is surely and perhaps heard. It surely is where PESQ, of the band that it keeps, is under
# about 4.0 on clean speech, and perhaps up to 4.4. Codecs that are not listed are always heard.
_AUDIBLE = {
    "mp3": (28.0, 56.0),
    "vorbis": (0.0, 0.35),
    "opus": (12.0, 40.0),
    "opus-voip": (12.0, 40.0),
    "amr-nb": (8.0, math.inf),
    "aac": (24.0, 64.0),
    "g.722": (40.0, math.inf),
    "g.726": (24.0, math.inf),
    "sbc": (48.0, math.inf),
    "mp2": (16.0, 96.0),
    "nellymoser": (16.0, math.inf),
}
# Highest bit rates in kbit/s at which encoders remove frequencies above 6 kHz or lower from a signal at 16 kHz (measured).
_NARROW_UP_TO = {"mp3": 24.0, "opus": 8.0, "opus-voip": 8.0, "aac": 16.0, "mp2": 32.0}


@dataclasses.dataclass(frozen=True, slots=True)
class Coding:
    """A codec with its settings.

    Attributes:
        codec: mp3, vorbis, opus, mu-law, a-law, gsm or ima-adpcm, coded by libsndfile; or one of `MEDIA_CODECS`.
        sample_rate: sampling rate of the coded signal in Hz.
        setting: bit rate in kbit/s for mp3 (average), opus and all of `MEDIA_CODECS`, quality from -0.1 to 1.0 for vorbis;
            None for the others.
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
        if self.codec in _GOOD_WAVEFORM:
            return None
        if self.setting is None or self.codec not in _AUDIBLE:
            return True
        surely_up_to, perhaps_up_to = _AUDIBLE[self.codec]
        return audible(-self.setting, -perhaps_up_to, -surely_up_to)

    @property
    def is_narrow(self) -> bool:
        """Whether the decoded signal has a narrow band, by the sampling rate or because the encoder removes the rest."""
        return self.sample_rate == NARROW or (
            self.setting is not None and self.setting <= _NARROW_UP_TO.get(self.codec, -math.inf)
        )

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
    tuple(Coding("amr-nb", NARROW, kbps) for kbps in (4.75, 5.9, 7.95, 12.2)),
    (
        *(Coding("opus-voip", WIDE, kbps) for kbps in (6, 8, 12)),
        Coding("opus-voip", NARROW, 6),
    ),
    (*(Coding("aac", WIDE, kbps) for kbps in (12, 16, 24)), Coding("aac", NARROW, 10)),
    (
        *(Coding("g.722", WIDE, kbps) for kbps in (48, 56, 64)),
        *(Coding("g.726", NARROW, kbps) for kbps in (16, 24, 32)),
    ),
    (
        Coding("ima-adpcm", WIDE),
        Coding("ima-adpcm", NARROW),
        *(Coding("sbc", WIDE, kbps) for kbps in (40, 48, 60)),
        *(Coding("mp2", WIDE, kbps) for kbps in (16, 32)),
    ),
    (
        Coding("g.723.1", NARROW, 6.3),
        Coding("nellymoser", NARROW, 16),
        Coding("nellymoser", WIDE, 32),
        Coding("realaudio", NARROW, 8),
    ),
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
    decoded = _recode(encoded, coding)
    if coding.sample_rate != SAMPLE_RATE:
        decoded = soxr.resample(decoded, coding.sample_rate, SAMPLE_RATE)
    # Block codecs pad the last block; resampling twice may lose a sample.
    decoded = np.pad(decoded[: len(samples)], (0, max(0, len(samples) - len(decoded))))
    return decoded / gain


def _recode(samples: np.ndarray, coding: Coding) -> np.ndarray:
    """Encodes and decodes samples [n] at the rate of the coding."""
    if coding.codec in MEDIA_CODECS:
        return recode(samples, coding.sample_rate, MEDIA_CODECS[coding.codec], coding.setting or 0.0)
    container, subtype = _FORMATS[coding.codec]
    file = io.BytesIO()
    soundfile.write(file, samples, coding.sample_rate, format=container, subtype=subtype, **coding.options)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return decoded
