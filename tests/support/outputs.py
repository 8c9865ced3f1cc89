"""Outputs of `audiosieve score` made without scoring, by the very code that writes their rows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from model.activity import shown_spectrogram
from model.diagnosis import FRAME_VALUES, CauseLimits, Diagnosis
from model.features import FeatureConfig
from model.labels import PESQ_WB
from transforms import schemas
from transforms.audio.decode import read_audio
from transforms.corpus.carried import carried_fields, carried_value
from transforms.elements import AudioRef, FrameFacts, Reject, ScoredUtterance, SignalFacts, Span, Utterance
from transforms.errors import AudioFault, Reason, Stage
from transforms.output.carried_columns import align_carried
from transforms.output.ledger import Ledger
from transforms.output.parquet_sink import parquet_writer
from transforms.scoring.rows import anomaly_rows, frames_table, reject_row, utterance_row
from transforms.scoring.utterance_score import ModelInfo, summarise

GOOD = SignalFacts(
    peak_dbfs=-3.0,
    rms_dbfs=-20.0,
    clipped_ratio=0.0,
    silence_ratio=0.2,
    lead_silence_s=0.1,
    trail_silence_s=0.2,
    longest_gap_s=0.3,
    active_s=3.5,
    dropouts=0,
    dropout_s=0.0,
    dc_offset=0.0,
    bandwidth_hz=7_900.0,
    noise_floor_snr_db=40.0,
    hum_db=None,
)


# Values of frames of clean speech.
HEARD_VALUES = {"snr_db": 30.0, "c50_db": 35.0, "mos_sig": 4.0, "mos_bak": 3.9, "mos_ovrl": 3.5}


def speech_frames(count: int) -> FrameFacts:
    """Measurements of frames that are all active and without a fault. Their levels move as in speech."""
    level_dbfs = -20 - 4 * (np.arange(count, dtype=np.float32) // 10 % 4)
    return FrameFacts(
        level_dbfs=level_dbfs,
        peak_dbfs=level_dbfs + 12,
        bandwidth_hz=np.full(count, 7_900.0, np.float32),
        clipped=np.zeros(count, bool),
        dropout_s=np.zeros(count, np.float32),
    )


def shown_frames(path: Path) -> int:
    """The number of frames of a recording that the network gets."""
    spectrogram, _ = shown_spectrogram(read_audio(str(path)).samples, FeatureConfig())
    return len(spectrogram)


def written(ledger: Ledger, run_id: str) -> list[str]:
    """Names of all files of a run's tables, as its sinks would give them."""
    root = Path(ledger.root)
    return sorted(
        path.relative_to(root).as_posix()
        for table in ledger.tables
        for path in (root / table).glob(f"{run_id}*.parquet")
    )


def scored(
    utterance_id: str,
    frame_score: Sequence[float] | np.ndarray | float,
    *,
    uri: str | None = None,
    duration_s: float | None = None,
    start_s: float = 0.0,
    channel: int | None = None,
    sample_rate: int = 16_000,
    format: str = "FLAC/PCM_16",
    columns: Mapping[str, str] | None = None,
    diagnosis: Diagnosis | None = None,
    **facts: Any,
) -> ScoredUtterance:
    """An utterance with its frames' scores, or a number for all of its frames; what is left out is harmless."""
    if np.isscalar(frame_score):
        duration_s = 4.0 if duration_s is None else duration_s
        frame_score = np.full(1 + (round(duration_s * 16_000) - 512) // 256, frame_score)
    frame_score = np.asarray(frame_score, np.float32)
    if duration_s is None:
        duration_s = ((len(frame_score) - 1) * 256 + 512) / 16_000
    span = Span(start_s, start_s + duration_s) if start_s else Span()
    ref = AudioRef(utterance_id, uri or f"/corpus/{utterance_id}", 1_000, "1000-1.000000", columns or {}, span)
    measured = dataclasses.replace(GOOD, **facts), speech_frames(len(frame_score))
    return ScoredUtterance(
        Utterance(ref, duration_s, sample_rate, 1, channel, format, *measured), frame_score, diagnosis
    )


def diagnosis_of(
    count: int, *, speech: float = 1.0, spans: Mapping[str, Sequence[tuple[int, int]]] | None = None, **values: float
) -> Diagnosis:
    """What a model hears in frames.

    Args:
        count: number of frames.
        speech: probability of speech.
        spans: first frame and end of the parts with a cause, by cause. A later cause is more probable than an earlier one.
        values: other values of all frames, by name.
    """
    frames = np.zeros((count, len(FRAME_VALUES)), np.float32)
    for name, value in {**HEARD_VALUES, "speech": speech, **values}.items():
        frames[:, FRAME_VALUES.index(name)] = value
    for number, (cause, parts) in enumerate((spans or {}).items()):
        for start, end in parts:
            frames[start:end, FRAME_VALUES.index(cause)] = 0.6 + 0.02 * number
    return Diagnosis(frames, CauseLimits.default())


def rejected(utterance_id: str, reason: Reason = Reason.CORRUPT, stage: Stage = Stage.DECODE) -> Reject:
    """An utterance that got no score."""
    ref = AudioRef(utterance_id, f"/corpus/{utterance_id}", 1_000, "1000-1.000000")
    return Reject.of(ref, AudioFault(stage, reason, "for people"))


def write_output(
    root: Path,
    utterances: Sequence[ScoredUtterance],
    rejects: Sequence[Reject] = (),
    *,
    carry: Sequence[str] = (),
    source: str = "/corpus",
    model_id: str = "some_net@0123456789ab",
    options: Mapping[str, Any] | None = None,
    commit: bool = True,
    run_id: str | None = None,
) -> Path:
    """Writes a run, committed or not, into an output that may have others; returns the output."""
    ledger = Ledger(str(root), tuple(schemas.SCORE_TABLES))
    run_id = run_id or Ledger.new_run_id()
    scores = [summarise(item, ModelInfo(model_id, PESQ_WB, "mean")) for item in utterances]
    refs = [item.utterance.ref for item in utterances]
    fields = align_carried(ledger, carried_fields(refs, carry)) if commit else [*map(schemas.carried_field, carry)]
    schema = schemas.with_carried(schemas.UTTERANCES, fields)
    rows = [
        utterance_row(score) | {field.name: carried_value(score.utterance.ref.columns, field) for field in fields}
        for score in scores
    ]
    tables = {
        "utterances": pa.Table.from_pylist(rows, schema),
        "anomalies": pa.Table.from_pylist([row for score in scores for row in anomaly_rows(score)], schemas.ANOMALIES),
        "rejects": pa.Table.from_pylist([reject_row(reject) for reject in rejects], schemas.REJECTS),
        "frames": frames_table(utterances) if utterances else schemas.FRAMES.empty_table(),
    }
    for name, table in tables.items():
        if len(table):
            path = f"{ledger.prefix(name, run_id)}-00000-of-00001.parquet"
            with FileSystems.create(path) as file, parquet_writer(file, table.schema) as writer:
                writer.write_table(table)
    if commit:
        seconds = sum(item.utterance.duration_s for item in utterances)
        record = {
            **request(len(utterances) + len(rejects), carry=carry, source=source, model_id=model_id, options=options),
            "audio_s": seconds,
            "timings": {"total_s": 1.0},
        }
        record["counts"] |= {"scored": len(utterances), "rejected": len(rejects)}
        ledger.commit(run_id, record, written(ledger, run_id))
    return root


def request(
    listed: int,
    *,
    carry: Sequence[str] = (),
    source: str = "/corpus",
    model_id: str = "some_net@0123456789ab",
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The part of the record of a run that is known before it."""
    return {
        "job": "score",
        "options": {"input": source, "carry": list(carry), "channels": "mix", **(options or {})},
        "model_id": model_id,
        "label_scale": PESQ_WB.name,
        "counts": {"listed": listed, "skipped": 0},
        "started_s": time.time(),
        "wave": {"number": 1, "of": 1},
        "versions": {"audiosieve": "0.1.0"},
    }
