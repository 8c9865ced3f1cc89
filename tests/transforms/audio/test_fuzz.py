"""Damaged files of every format are decoded or rejected, within limits of time and memory.

A C library may crash on damaged input, so other processes decode the files.
"""

from __future__ import annotations

import io
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.support.media import MEDIA, encode_media

FORMATS = [
    "WAV/PCM_16",
    "WAV/FLOAT",
    "WAV/ULAW",
    "WAV/GSM610",
    "WAV/MS_ADPCM",
    "WAV/IMA_ADPCM",
    "WAVEX/PCM_24",
    "FLAC/PCM_16",
    "OGG/VORBIS",
    "OGG/OPUS",
    "MP3/MPEG_LAYER_III",
    "AIFF/PCM_16",
    "AU/PCM_16",
    "RF64/PCM_16",
    "W64/PCM_16",
    "NIST/PCM_16",
    "CAF/ALAC_16",
]
MUTATIONS = 1_000
# For each format that FFmpeg reads: they find errors that would end a run, and are fast.
MEDIA_MUTATIONS = 40
# Limit for one file; generous because the machine may be busy.
MAX_SECONDS = 20
MAX_MEMORY_BYTES = 6 << 30


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Changes bytes (mostly of the header), removes, repeats or overwrites a range, or cuts off the end."""
    data = bytearray(whole)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(min(len(data), 200)) if rng.random() < 0.6 else rng.integers(len(data)))
        length = int(rng.integers(1, 64))
        match rng.integers(6):
            case 0:
                data[at] = int(rng.integers(256))
            case 1:
                data[at] ^= 1 << int(rng.integers(8))
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80"])
            case 5:
                data = data[: max(1, at)]
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def content(coding: str) -> bytes:
    """Returns noise in a format of libsndfile ("WAV/PCM_16") or of FFmpeg ("m4a"); "mp3" states no length."""
    samples = np.random.default_rng(0).normal(0, 0.1, 6_000)
    if coding == "mp3":
        return encode_media(samples, 16_000, ("mp3", "libmp3lame"), {"write_xing": "0"})
    if coding in MEDIA:
        return encode_media(samples, {"amr": 8_000, "ac3": 48_000}.get(coding, 16_000), coding)
    container, subtype = coding.split("/")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 8_000 if "GSM" in subtype else 16_000, format=container, subtype=subtype)
    return buffer.getvalue()


def main(codings: list[str], mutations: int) -> None:
    """Decodes damaged files of some formats and prints the outcome of each."""
    from transforms.audio.decode import decode_spans
    from transforms.audio.span_reader import Decoded
    from transforms.errors import AudioFault

    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    files = ((coding, content(coding), seed) for coding in codings for seed in range(mutations))
    for coding, whole, seed in files:
        data = damaged(whole, np.random.default_rng(seed))
        # libsndfile may print on the same line.
        print(f"\n= {coding} {seed}", end=" ", flush=True)
        signal.alarm(MAX_SECONDS)
        try:
            ((_, _, result),) = decode_spans(io.BytesIO(data))
        except AudioFault as fault:
            result = fault
        signal.alarm(0)
        if isinstance(result, Decoded):
            assert np.isfinite(result.samples).all()
            print("decoded", flush=True)
        else:
            print(result.reason, flush=True)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("coding", FORMATS)
def test_a_thousand_damaged_files_are_decoded_or_rejected(coding):
    if not soundfile.check_format(*coding.split("/")):
        pytest.skip("this libsndfile does not write the format")
    check([coding], MUTATIONS)


def test_damaged_files_that_ffmpeg_reads_are_decoded_or_rejected():
    check(["mp3", *MEDIA], MEDIA_MUTATIONS)


def check(codings: list[str], mutations: int) -> None:
    """Decodes damaged files of some formats in another process."""
    command = [sys.executable, "-m", "tests.transforms.audio.test_fuzz", str(mutations), *codings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ends = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("= ")]
    assert done.returncode == 0, (
        f"file {' '.join(ends[-1])} crashed the process (exit status {done.returncode})\n{done.stderr[-2000:]}"
    )
    assert [(end[0], int(end[1])) for end in ends] == [
        (coding, seed) for coding in codings for seed in range(mutations)
    ]
    for coding in codings:
        kinds = {end[2] for end in ends if end[0] == coding}
        assert "decoded" in kinds or coding.startswith("MP3")
        assert len(kinds) > 1, (coding, sorted(kinds))


if __name__ == "__main__":
    main(sys.argv[2:], int(sys.argv[1]))
