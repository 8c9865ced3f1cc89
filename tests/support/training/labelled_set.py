"""A labelled set, as `audiosieve synthesize` leaves it, of speech with white noise."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from transforms.schemas import CLIPS

RUN_ID = "20250101T000000Z-abcdef"


def flac(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def write_set(root: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A set as `audiosieve synthesize` leaves it, in row groups of 4."""
    name = f"clips/{RUN_ID}-00000-of-00001.parquet"
    (root / "clips").mkdir(parents=True)
    (root / "_runs").mkdir()
    pq.write_table(pa.Table.from_pylist(list(rows), CLIPS), root / name, row_group_size=4)
    record = {"run_id": RUN_ID, "job": "synthesize", "files": [name], "replaces": []}
    (root / "_runs" / f"{RUN_ID}.json").write_text(json.dumps(record))
    return root


def make_clip(
    speech: np.ndarray, number: int, snr_db: float | None, span: tuple[float, float] | None
) -> dict[str, Any]:
    """Speech with white noise in a span of seconds; over the whole clip where there is none."""
    rng = np.random.default_rng(number)
    reference = speech[number * 400 :][: 3 * 16_000] * rng.uniform(0.3, 0.6)
    samples, distortions = reference.copy(), []
    duration_s = len(reference) / 16_000
    if snr_db is not None:
        start, end = (round(edge * 16_000) for edge in span or (0.0, duration_s))
        noise = rng.normal(0, 1, end - start)
        noise *= np.sqrt(np.mean(reference**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
        samples[start:end] += noise
        distortions.append({"kind": "noise", "detail": "white", "start_s": start / 16_000, "end_s": end / 16_000})
    return {
        "clip_id": f"7-{number:08d}",
        "audio": flac(np.clip(samples, -1, 1)),
        "reference": flac(reference),
        "duration_s": duration_s,
        "pesq_wb": 4.6 if snr_db is None else float(np.clip(1 + snr_db / 10, 1, 4.6)),
        "pesq_nb": None,
        "pseudo": None,
        "snr_db": snr_db,
        "disturbance": None,
        "asymmetric_disturbance": None,
        "distortions": distortions,
        "variation": [],
        "speech_id": f"speech{number}",
        "speaker": f"speaker{number % 6}",
        "corpus": "samples",
        "noise_ids": [] if snr_db is None else ["white"],
        "noise_groups": [] if snr_db is None else ["white"],
        "peak_dbfs": -6.0,
        "split": "train" if number % 3 == 0 else "val",
        "seed": 7,
    }
