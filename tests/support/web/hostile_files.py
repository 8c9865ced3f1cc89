"""Hostile files: damaged, invalid and oversized recordings, and files that are no audio."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile

import numpy as np
import soundfile

from tests.transforms.audio.test_fuzz import FORMATS, damaged

RATE = 16_000


def encode(samples: np.ndarray, rate: int = RATE, coding: str = "WAV/PCM_16") -> bytes:
    """Encodes samples [n] or [n, channels]."""
    buffer = io.BytesIO()
    container, subtype = coding.split("/")
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def noise(*shape: int) -> np.ndarray:
    """Returns noise at -20 dBFS."""
    return np.random.default_rng(0).normal(0, 0.1, shape).clip(-1, 1)


def bomb(hours: float) -> bytes:
    """Returns a FLAC file of some hours of silence in a few hundred kB."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", RATE, 1, format="FLAC", subtype="PCM_16") as file:
        block = np.zeros(60 * RATE, np.int16)
        for _ in range(round(hours * 60)):
            file.write(block)
    return buffer.getvalue()


def hostile() -> dict[str, bytes]:
    """Returns files by name, none of which can be scored."""
    wav, flac = encode(noise(40_000)), encode(noise(40_000), coding="FLAC/PCM_16")
    mp3 = encode(noise(20_000), coding="MP3/MPEG_LAYER_III")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo("a.wav")
        info.size = len(wav)
        tar.addfile(info, io.BytesIO(wav))
    bad_floats = noise(2_000)
    bad_floats[777] = np.nan
    too_loud = encode(np.full((2_000, 2), 3.4e38) * np.sign(noise(2_000))[:, np.newaxis], coding="WAV/FLOAT")
    rates = {rate: wav[:24] + struct.pack("<I", rate) + wav[28:] for rate in (0, 1, 3_999, 384_001, 0xFFFF_FFFF)}
    lying = bytearray(flac)
    lying[21] &= 0xF0  # 36 bits of samples: 17 hours of them
    lying[22:26] = struct.pack(">I", 10**9)
    return {
        "empty": b"",
        "one byte": b"x",
        "text": b"hello, this is no sound\n" * 100,
        "html": b"<html><script>alert(1)</script></html>",
        "zeros": bytes(5_000),
        "random": np.random.default_rng(0).bytes(50_000),
        "RIFF": b"RIFF",
        "fLaC": b"fLaC",
        "OggS": b"OggS",
        "m4a": b"\0\0\0\x1cftypM4A \0\0\x02\0" + bytes(range(256)) * 20,
        "aac": b"\xff\xf1`@\x03\x9f\xfc\xde\x02\0Lavc" + bytes(range(256)) * 20,
        "wma": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(range(256)) * 20,
        "webm": b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01" + bytes(range(256)) * 20,
        "gzip": gzip.compress(wav),
        "tar": archive.getvalue(),
        "cut wav": wav[: len(wav) // 2],
        "cut flac": flac[: len(flac) // 2],
        "cut aiff": encode(noise(20_000), coding="AIFF/PCM_16")[:20_000],
        "cut mp3": mp3[: len(mp3) // 2],
        "damaged flac": flac[: len(flac) // 2] + bytes(8) + flac[len(flac) // 2 + 8 :],
        "lying flac": bytes(lying),
        "nan": encode(bad_floats, coding="WAV/FLOAT"),
        "too loud": too_loud,
        "no samples": encode(noise(0)),
        "511 samples": encode(noise(511)),
        "silence": encode(np.zeros(RATE)),
        "constant": encode(np.full(RATE, 0.25)),
        **{f"{rate} Hz": data for rate, data in rates.items()},
        "bomb": bomb(2.0),
    }


def fuzzed(mutations: int) -> dict[str, bytes]:
    """Returns damaged files of every format; some may still be decoded."""
    found = {}
    for coding in FORMATS:
        if not soundfile.check_format(*coding.split("/")):
            continue
        whole = encode(noise(6_000), 8_000 if "GSM" in coding else RATE, coding)
        for seed in range(mutations):
            found[f"{coding} {seed}"] = damaged(whole, np.random.default_rng(seed))
    return found
