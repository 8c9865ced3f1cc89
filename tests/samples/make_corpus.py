"""Makes a small corpus with known damage from the sample recordings, the same one every time.

    python tests/samples/make_corpus.py FOLDER

The folder gets three speakers, a folder `broken` with recordings that cannot be scored, and a manifest `corpus.csv`.
"""

from __future__ import annotations

import csv
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 16_000
AUDIO = Path(__file__).parent / "audio"
TEXTS = {
    "rms": "a recording is only as good as the worst second in it",
    "slt": "please score this corpus before anybody trains a model on it",
    "awb": "most of the hours are fine and some of them are not",
}
COPIES = {
    "rms": ("clean.flac", "noise_20db.flac", "noise_10db.flac", "noise_00db.flac"),
    "slt": ("burst.flac", "clipped.flac"),
    "awb": ("stereo_48k.flac", "compressed.mp3"),
    "broken": ("corrupt.flac",),
}


def _with_lost_packets(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns speech in which a fifth of the packets of 40 ms are silent."""
    packet = RATE // 25
    lost = rng.random(-(-len(speech) // packet)) < 0.2
    return np.where(np.repeat(lost, packet)[: len(speech)], 0.0, speech)


def _in_room(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns speech with the echoes of a large room: noise that falls by 60 dB in 1.2 s, as strong as the direct sound."""
    times = np.arange(round(1.2 * RATE)) / RATE
    echoes = rng.standard_normal(len(times)) * 10 ** (-3 * times / 1.2)
    response = echoes / np.sqrt(np.sum(echoes**2))
    response[0] += 1
    mixed = np.fft.irfft(np.fft.rfft(speech, 2**17) * np.fft.rfft(response, 2**17), 2**17)[: len(speech)]
    return 0.5 * mixed / np.abs(mixed).max()


def make_corpus(folder: Path) -> Counter[str]:
    """Writes the corpus and returns the number of recordings in each of its folders.

    Args:
        folder: new or empty folder.
    """
    rng = np.random.default_rng(7)
    for name, files in COPIES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(AUDIO / file, folder / name / file)

    def write(name: str, samples: np.ndarray, rate: int = RATE, **how: str) -> None:
        soundfile.write(folder / name, samples, rate, **how)

    clean, _ = soundfile.read(AUDIO / "clean.flac")
    other, _ = soundfile.read(AUDIO / "compressed.mp3")
    write("rms/quiet.wav", clean / 10)
    write("rms/encoded.mp3", clean, format="MP3", subtype="MPEG_LAYER_III")
    write("rms/telephone.wav", soxr.resample(clean, RATE, 8_000), 8_000)
    write("rms/lost_packets.flac", _with_lost_packets(clean, rng))
    write("awb/room.flac", _in_room(other, rng))
    write("broken/silence.wav", np.zeros(2 * RATE))
    (folder / "broken/empty.wav").touch()
    recordings = sorted(path for path in folder.glob("*/*") if path.is_file())
    with (folder / "corpus.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "speaker", "text"))
        for path in recordings:
            speaker = path.parent.name
            rows.writerow((path.relative_to(folder).as_posix(), speaker, TEXTS.get(speaker, "")))
    return Counter(path.parent.name for path in recordings)


def main(folder: str) -> None:
    """Makes the corpus and prints what is in it."""
    counts = make_corpus(Path(folder))
    parts = ", ".join(f"{count} in {name}" for name, count in counts.items())
    print(f"{counts.total()} recordings in {folder}: {parts}")


if __name__ == "__main__":
    main(sys.argv[1])
