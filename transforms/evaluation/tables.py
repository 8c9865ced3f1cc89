"""Tables of an evaluation: the scores of each model for each clip and frame, with the labels and the bad frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.diagnosis import FRAME_VALUES, HEARD_CAUSES, RATINGS
from model.evaluation.diagnosed_clips import DiagnosedClip
from model.evaluation.localisation import has_known_span, intersection_over_union
from model.evaluation.scored_clips import ScoredClips
from model.features import frame_start_s
from model.frame_truth import YES
from transforms.evaluation.score_schemas import CLIP_SCORES, FRAME_SCORES

# Values of `Heard` whose truth has a column of the same name.
PREDICTED = ("snr_db", "c50_db", *RATINGS)
# The first values of a frame: speech, and causes.
FRAME_PROBABILITIES = FRAME_VALUES[: 1 + len(HEARD_CAUSES)]


def write_tables(
    folder: Path, scored_by: Mapping[str, ScoredClips], diagnosed_by: Mapping[str, Sequence[DiagnosedClip]]
) -> None:
    """Writes `clips.parquet`, one row per clip and model, and `frames.parquet`, one row per frame and model.

    Args:
        folder: folder of the tables.
        scored_by: scored clips by model id.
        diagnosed_by: the same clips with their diagnoses, by id of the diagnostic models.
    """
    rows = []
    for model_id, scored in scored_by.items():
        diagnosed = diagnosed_by.get(model_id)
        for n in range(len(scored.clips)):
            rows.append(clip_row(model_id, scored, n) | (diagnosis_row(diagnosed[n]) if diagnosed else {}))
    pq.write_table(pa.Table.from_pylist(rows, CLIP_SCORES), folder / "clips.parquet", compression="zstd")
    with pq.ParquetWriter(folder / "frames.parquet", FRAME_SCORES, compression="zstd") as file:
        for model_id, scored in scored_by.items():
            file.write_table(frames_table(model_id, scored, diagnosed_by.get(model_id)))


def clip_row(model_id: str, scored: ScoredClips, n: int) -> dict[str, Any]:
    """Returns the row of the clip with index `n` in `clips.parquet`."""
    clip, localised = scored.clips[n], scored.localised[n]
    label, score = float(scored.label[n]), float(scored.score[n])
    return {
        "set": clip.set_name,
        "clip_id": clip.clip_id,
        "model_id": model_id,
        "label_scale": scored.label_scale.name if scored.label_scale else None,
        "label": label if np.isfinite(label) else None,
        "score": score,
        "snr_db": clip.snr_db,
        "clean": clip.clean,
        "taken_for_clean": score >= scored.threshold.value if scored.threshold else None,
        "faults": clip.faults,
        "noise_groups": list(clip.noise_groups),
        "corpus": clip.corpus,
        "speaker": clip.speaker,
        "duration_s": clip.duration_s,
        "num_anomalies": localised.num_anomalies,
        "iou": intersection_over_union(localised.bad, localised.in_anomaly) if has_known_span(localised.bad) else None,
        "speech_snr_db": clip.speech_snr_db,
        "c50_db": clip.c50_db,
        **clip.ratings,
    }


def diagnosis_row(clip: DiagnosedClip) -> dict[str, Any]:
    """Returns the columns of `clips.parquet` that only diagnostic models fill."""
    heard = dataclasses.asdict(clip.heard)
    true_causes = [cause for cause in HEARD_CAUSES if clip.truth(cause) == YES] if clip.clip.names_causes else None
    return {
        "true_causes": true_causes,
        "causes": list(clip.heard.causes),
        **{name: heard[name] for name in ("speech_s", "music_s", "overlap_s")},
        **{f"predicted_{name}": heard[name] for name in PREDICTED},
    }


def frames_table(model_id: str, scored: ScoredClips, diagnosed: Sequence[DiagnosedClip] | None = None) -> pa.Table:
    """Returns the rows of one model in `frames.parquet`."""
    lengths = [len(localised.bad) for localised in scored.localised]
    frame = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])

    def repeated(names: list[str]) -> pa.Array:
        distinct, codes = np.unique(np.array(names, dtype=str), return_inverse=True)
        indices = pa.array(np.repeat(codes, lengths).astype(np.int32))
        return pa.DictionaryArray.from_arrays(indices, pa.array(distinct.tolist(), pa.string()))

    columns = [
        repeated([clip.set_name for clip in scored.clips]),
        repeated([clip.clip_id for clip in scored.clips]),
        repeated([model_id] * len(scored.clips)),
        frame,
        frame_start_s(frame).astype(np.float32),
        np.concatenate([localised.frame_score for localised in scored.localised]).astype(np.float32),
        np.concatenate([localised.bad for localised in scored.localised]),
        np.concatenate([localised.in_anomaly for localised in scored.localised]),
    ]
    if diagnosed:
        values = np.concatenate([clip.diagnosis.values for clip in diagnosed])
        trained = diagnosed[0].diagnosis.trained
        columns += [
            values[:, index] if name in trained else pa.nulls(len(frame), pa.float32())
            for index, name in enumerate(FRAME_PROBABILITIES)
        ]
    else:
        columns += [pa.nulls(len(frame), pa.float32())] * len(FRAME_PROBABILITIES)
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=FRAME_SCORES)
