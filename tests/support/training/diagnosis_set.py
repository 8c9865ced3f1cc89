"""A training set of clips of tones in noise, with the labels of a diagnosis."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from model.features import num_frames
from transforms.schemas import CLIPS as SCHEMA

COLUMNS = (
    "clip_id",
    "audio",
    "duration_s",
    "pesq_wb",
    "disturbance",
    "asymmetric_disturbance",
    "distortions",
    "speech",
    "speech_snr_db",
    "c50_db",
    "mos_sig",
    "mos_bak",
    "mos_ovrl",
    "split",
)


def distortion(cause: str | None, audible: bool | None, start_s: float, end_s: float) -> dict[str, Any]:
    return {"kind": "", "detail": "", "start_s": start_s, "end_s": end_s, "cause": cause, "audible": audible}


def clip(number: int) -> dict[str, Any]:
    """Makes a clip of tones with noise in its second half. Higher numbers have less noise, better labels, more samples."""
    rng = np.random.default_rng(number)
    length = 15_000 + 200 * number
    duration_s, snr_db = length / 16_000, 2.0 * number
    samples = 0.1 * np.sin(2 * np.pi * 440 * np.arange(length) / 16_000)
    samples[length // 2 :] += rng.normal(0, 0.07 * 10 ** (-snr_db / 20), length - length // 2)
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), 16_000, format="FLAC", subtype="PCM_16")
    frames = num_frames(length)
    disturbance = np.where(np.arange(frames) < frames // 2, 0.5, 30.0 / (number + 1)).tolist()
    return {
        "clip_id": f"clip-{number}",
        "audio": file.getvalue(),
        "duration_s": duration_s,
        "pesq_wb": 1.1 + 0.25 * number,
        "disturbance": disturbance,
        "asymmetric_disturbance": disturbance,
        "distortions": [distortion("noise", True, duration_s / 2, duration_s)],
        "speech": [{"start_s": 0.0, "end_s": duration_s * 0.75}],
        "speech_snr_db": snr_db,
        "c50_db": None,
        "mos_sig": 3.5,
        "mos_bak": 1.0 + 0.2 * number,
        "mos_ovrl": 1.0 + 0.2 * number,
        "split": "val" if number % 3 == 2 else "train",
    }


def unlabelled(number: int) -> dict[str, Any]:
    """Makes a clip of a real recording, of which only the ratings are known."""
    unknown = ("pesq_wb", "disturbance", "asymmetric_disturbance", "distortions", "speech", "speech_snr_db", "c50_db")
    return {**clip(number), **dict.fromkeys(unknown)}


CLIPS = [*map(clip, range(12)), unlabelled(12), unlabelled(14)]


def write_set(path: Path, clips: list[dict[str, Any]]) -> Path:
    """Writes clips as a file of a training set, with row groups of four."""
    fields = [SCHEMA.field(name).with_nullable(True) for name in COLUMNS]
    pq.write_table(pa.Table.from_pylist(clips, schema=pa.schema(fields)), path, row_group_size=4)
    return path
