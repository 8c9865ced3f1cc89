"""Speech, noise and labelled sets for tests that train or evaluate."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

from tests.support.command import audiosieve


def write_folders(root: Path, samples: Path) -> tuple[Path, Path]:
    """Writes clean speech of six speakers and four groups of noise, with one unusable file of each kind."""
    speech, noise = root / "speech", root / "noise"
    for speaker in range(6):
        (speech / f"speaker{speaker}").mkdir(parents=True)
        name = ("clean.flac", "stereo_48k.flac", "compressed.mp3")[speaker % 3]
        shutil.copy(samples / name, speech / f"speaker{speaker}" / name)
    (speech / "speaker0" / "broken.wav").write_text("no audio")
    rng = np.random.default_rng(3)
    for group in range(4):
        (noise / f"group{group}").mkdir(parents=True)
        hum = np.sin(np.arange(24_000) * 2 * np.pi * 100 * (group + 1) / 16_000)
        soundfile.write(noise / f"group{group}" / "noise.wav", 0.1 * hum + 0.1 * rng.standard_normal(24_000), 16_000)
    soundfile.write(noise / "group0" / "silence.wav", np.zeros(16_000), 16_000)
    return speech, noise


def write_music(root: Path) -> Path:
    """Writes two groups of music: broken chords of plucked strings."""
    rng = np.random.default_rng(4)
    time = np.arange(8_000) / 16_000
    for group, root_hz in (("guitar", 196.0), ("harp", 262.0)):
        (root / group).mkdir(parents=True)
        pitches = root_hz * rng.choice([1.0, 1.25, 1.5, 2.0], 6)
        notes = [0.3 * np.exp(-4 * time) * np.sin(2 * np.pi * pitch * time) for pitch in pitches]
        soundfile.write(root / group / "chords.wav", np.concatenate(notes), 16_000)
    return root


def synthesize(folders: tuple[Path, Path], output: Path, *options: object) -> list[dict]:
    """Makes a set and returns its clips, sorted."""
    speech, noise = folders
    defaults = ["--clips", "40", "--labels", "pseudo", "--holdout", "0.4", "--seed", "11", "--duration", "1:2"]
    audiosieve("synthesize", "--speech", speech, "--noise", noise, "--output", output, *defaults, *options)
    return sorted(pq.read_table(output / "clips").to_pylist(), key=lambda row: row["clip_id"])
