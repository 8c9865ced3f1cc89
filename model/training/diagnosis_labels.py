"""Labels of a clip for a network that gives a diagnosis. Unknown labels are NaN, or `UNKNOWN` for those of yes or no."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from model.diagnosis import HEARD_CAUSES, HIGHEST_DB, RATINGS
from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE, num_frames
from model.pooling import true_frame_scores

YES, NO, UNKNOWN = 1, 0, -1
SECOND_VOICE = "second_voice"
LEVELS = ("snr_db", "c50_db")
# Columns of a training set that the labels are made from, beside that of the score.
COLUMNS = (
    "duration_s",
    "disturbance",
    "asymmetric_disturbance",
    "distortions",
    "speech",
    "speech_snr_db",
    "c50_db",
    *RATINGS,
)
SPECS = {
    "score": tf.TensorSpec([], tf.float32),
    "frame_score": tf.TensorSpec([None], tf.float32),
    "speech": tf.TensorSpec([None], tf.int8),
    "causes": tf.TensorSpec([None, len(HEARD_CAUSES)], tf.int8),
    "levels_db": tf.TensorSpec([len(LEVELS)], tf.float32),
    "ratings": tf.TensorSpec([len(RATINGS)], tf.float32),
}


def diagnosis_labels(row: Mapping[str, Any], score: float | None) -> dict[str, np.ndarray]:
    """Returns the labels of a clip of T frames.

    Args:
        row: clip of a training set, with `COLUMNS`.
        score: true score of the clip; None if unknown.

    Returns:
        "score" float32 []; "frame_score" float32 [T], zeros without a score; "speech" int8 [T]; "causes" int8 [T, 9];
        "levels_db" float32 [2], SNR and C50 from any value up to `HIGHEST_DB`, which stands for all higher ones; "ratings"
        float32 [3].

    Raises:
        ValueError: a distortion has an unknown cause.
    """
    frames = num_frames(round(row["duration_s"] * SAMPLE_RATE))
    true_score, frame_score = np.nan, np.zeros(frames, np.float32)
    if score is not None and row["disturbance"] is not None:
        true_score = score
        frame_score = true_frame_scores(np.array(row["disturbance"]), np.array(row["asymmetric_disturbance"]), score)
    return {
        "score": np.array(true_score, np.float32),
        "frame_score": frame_score,
        "speech": _speech(row, frames),
        "causes": _causes(row["distortions"], frames),
        "levels_db": np.array([_level(row, name) for name in ("speech_snr_db", "c50_db")], np.float32),
        "ratings": np.array([np.nan if row[name] is None else row[name] for name in RATINGS], np.float32),
    }


def touched_frames(span: Mapping[str, Any], frames: int) -> np.ndarray:
    """Returns whether each frame has at least 256 samples of a span, half of the frame, or all of a shorter one: bool [T]."""
    start, end = (round(span[name] * SAMPLE_RATE) for name in ("start_s", "end_s"))
    first = np.arange(frames) * FRAME_SHIFT
    inside = np.minimum(first + FRAME_LENGTH, end) - np.maximum(first, start)
    return np.asarray(inside >= max(1, min(FRAME_LENGTH // 2, end - start)))


def _speech(row: Mapping[str, Any], frames: int) -> np.ndarray:
    """Returns whether each frame has speech: int8 [T]. Where only a second voice may speak, it is unknown."""
    if row["speech"] is None:
        return np.full(frames, UNKNOWN, np.int8)
    labels = np.full(frames, NO, np.int8)
    for distortion in row["distortions"] or ():
        if distortion["cause"] == SECOND_VOICE:
            labels[touched_frames(distortion, frames)] = UNKNOWN
    for span in row["speech"]:
        labels[touched_frames(span, frames)] = YES
    return labels


def _causes(distortions: Iterable[Mapping[str, Any]] | None, frames: int) -> np.ndarray:
    """Returns whether each frame has each cause: int8 [T, 9]. Of several distortions, an audible one decides."""
    labels = np.full((frames, len(HEARD_CAUSES)), UNKNOWN if distortions is None else NO, np.int8)
    for distortion in sorted(distortions or (), key=lambda one: one["audible"] is True):
        if distortion["cause"] not in (None, *HEARD_CAUSES):
            raise ValueError(f"the cause {distortion['cause']!r} is not one of {', '.join(HEARD_CAUSES)}")
        if distortion["cause"] is not None and distortion["audible"] is not False:
            value = YES if distortion["audible"] else UNKNOWN
            labels[touched_frames(distortion, frames), HEARD_CAUSES.index(distortion["cause"])] = value
    return labels


def _level(row: Mapping[str, Any], column: str) -> float:
    """Returns the SNR or C50 of a clip: `HIGHEST_DB` without noise or room, and NaN without speech or if unknown."""
    if not row["speech"] or row["distortions"] is None:
        return float("nan")
    return HIGHEST_DB if row[column] is None else min(row[column], HIGHEST_DB)
