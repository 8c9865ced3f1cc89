"""Signals for tests of decoding, and shortcuts that decode bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

from model.features import SAMPLE_RATE
from transforms.audio.decode import decode
from transforms.audio.span_reader import Decoded
from transforms.decoders.sound import open_sound
from transforms.errors import AudioFault, Stage

LOSSLESS = ["WAV/PCM_U8", "WAV/PCM_16", "WAV/PCM_24", "WAV/PCM_32", "WAV/FLOAT", "FLAC/PCM_16", "AIFF/PCM_16"]
LOSSY = ["OGG/VORBIS", "OGG/OPUS", "MP3/MPEG_LAYER_III"]
RATES = [8_000, 16_000, 44_100, 48_000]
# Opus has no sampling rate of 44.1 kHz.
WRITABLE = [(coding, rate) for coding in LOSSLESS + LOSSY for rate in RATES if (coding, rate) != ("OGG/OPUS", 44_100)]


def tone(seconds: float, rate: int = SAMPLE_RATE, hertz: float = 440.0, amplitude: float = 0.5) -> np.ndarray:
    """Makes a sine tone: float64 [n]."""
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Makes white noise of that shape within full scale."""
    return np.random.default_rng(seed).normal(0, 0.1, shape).clip(-1, 1)


def speech_like(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Makes noise of which most power is in the low frequencies: float64 [n, channels]."""
    return lfilter([1], [1, -0.95], noise(round(seconds * rate), channels, seed=1) / 5, axis=0).clip(-1, 1)


def read_samples(data: bytes) -> np.ndarray:
    """Returns all samples of a recording at its own rate: float32 [n, channels]."""
    with open_sound(io.BytesIO(data)) as sound:
        return sound.read_block(10_000_000)


def as_wav(data: bytes) -> bytes:
    """Returns a recording as a WAV file with the same samples."""
    with open_sound(io.BytesIO(data)) as sound:
        buffer = io.BytesIO()
        soundfile.write(buffer, sound.read_block(10_000_000), sound.samplerate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def decode_bytes(data: bytes) -> Decoded:
    """Decodes the bytes of a recording."""
    return decode(io.BytesIO(data))


def fault_of(data: bytes) -> AudioFault:
    """Returns the fault with which decoding fails."""
    with pytest.raises(AudioFault) as caught:
        decode_bytes(data)
    assert caught.value.stage == Stage.DECODE
    assert caught.value.detail
    return caught.value
