"""Makes the sample recordings in `audio/` anew: speech by Flite, noise by numpy. Needs the program flite.

    python tests/samples/make_samples.py

What it makes is the project's own, so that it can be committed.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 16_000
AUDIO = Path(__file__).parent / "audio"
SENTENCES = (
    ("rms", "A recording is only as good as the worst second in it."),
    ("slt", "Please score this corpus before anybody trains a model on it."),
    ("awb", "Most of the hours are fine, and some of them are not."),
)


def speak(voice: str, text: str, rate: int = RATE) -> np.ndarray:
    """Speech by Flite, float64 [n], peak 0.5, with 0.2 s of silence before and after it."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", wav.name], check=True)
        samples, spoken_at = soundfile.read(wav.name)
    samples = soxr.resample(samples, spoken_at, rate)
    return np.pad(samples / np.abs(samples).max() * 0.5, round(0.2 * rate))


def pink_noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls by 3 dB an octave: [length], RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, length)
    return noise / np.sqrt(np.mean(noise**2))


def at_snr(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Speech plus noise at an SNR over the whole recording, peak not above 0.9."""
    level = np.sqrt(np.mean(speech**2) / 10 ** (snr_db / 10))
    mixed = speech + noise * level
    return mixed * min(1.0, 0.9 / np.abs(mixed).max())


def main() -> None:
    """Writes all samples."""
    rng = np.random.default_rng(7)
    AUDIO.mkdir(exist_ok=True)
    first, second, third = (speak(voice, text) for voice, text in SENTENCES)

    def write(name: str, samples: np.ndarray, rate: int = RATE, **how: str) -> None:
        soundfile.write(AUDIO / name, samples, rate, **how)

    write("clean.flac", first)
    for snr_db in (20, 10, 0):
        write(f"noise_{snr_db:02d}db.flac", at_snr(first, pink_noise(len(first), rng), snr_db))
    clipped = np.clip(second * 5, -1, 1)
    write("clipped.flac", 0.9 * (clipped - clipped.mean()))  # voices are not symmetric
    burst = second.copy()
    middle = len(burst) // 2
    burst[middle : middle + RATE] = at_snr(burst, pink_noise(len(burst), rng), -5)[middle : middle + RATE]
    write("burst.flac", burst)
    high = speak(*SENTENCES[2], rate=48_000)
    write("stereo_48k.flac", np.stack([high, 0.8 * high], axis=1), 48_000)
    write("compressed.mp3", third, format="MP3", subtype="MPEG_LAYER_III")
    corrupt = bytearray((AUDIO / "noise_10db.flac").read_bytes()[:20_000])
    corrupt[5_000:5_100] = bytes(100)
    (AUDIO / "corrupt.flac").write_bytes(corrupt)


if __name__ == "__main__":
    main()
