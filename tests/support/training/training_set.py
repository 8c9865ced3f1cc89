"""A training set of a dozen clips of a second."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from model.features import FeatureConfig

CONFIG = FeatureConfig()
SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("audio", pa.binary()),
        ("pesq_wb", pa.float32()),
        ("pesq_nb", pa.float32()),
        ("pseudo", pa.float32()),
        ("split", pa.string()),
    ]
)


def clip(number: int) -> dict[str, Any]:
    """Makes a clip of a tone in noise. Higher numbers have less noise, better labels and more samples."""
    rng = np.random.default_rng(number)
    num_samples = 15_000 + 200 * number
    snr_db = -10 + 2.5 * number
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / 16_000)
    noise = rng.standard_normal(num_samples) * 0.07 * 10 ** (-snr_db / 20)
    file = io.BytesIO()
    soundfile.write(file, np.clip(tone + noise, -1, 1), 16_000, format="FLAC", subtype="PCM_16")
    return {
        "clip_id": f"clip-{number}",
        "audio": file.getvalue(),
        "pesq_wb": 1.1 + 0.25 * number,
        "pesq_nb": None,
        "pseudo": 1 + 0.5 * number,
        "split": "val" if number % 3 == 2 else "train",
    }


def write_set(path: Path, clips: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    """Writes clips as a file of a training set, with row groups of two."""
    pq.write_table(pa.Table.from_pylist(clips, schema=schema), path, row_group_size=2)
    return path


CLIPS = [clip(number) for number in range(12)]
UNLABELLED = {**clip(12), "pesq_wb": None}
LABELS = {split: [np.float32(c["pesq_wb"]) for c in CLIPS if c["split"] == split] for split in ("train", "val")}
