"""Labels of a clip for a network that gives a diagnosis. Unknown labels are NaN, or `UNKNOWN` for those of yes or no."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import tensorflow as tf

from model.diagnosis import HEARD_CAUSES, HIGHEST_DB, RATINGS
from model.evaluation.diagnosed_clips import NO, SECOND_VOICE, UNKNOWN, YES, touched_frames
from model.features import SAMPLE_RATE, num_frames
from model.pooling import true_frame_scores

LEVELS = ("snr_db", "c50_db")
# Causes that lower the SNR, and the C50.
SOUNDS, ROOMS = {"noise", "music", SECOND_VOICE, "hum"}, {"reverberation"}
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
        "levels_db": np.array([_level(row, "speech_snr_db", SOUNDS), _level(row, "c50_db", ROOMS)], np.float32),
        "ratings": np.array([np.nan if row[name] is None else row[name] for name in RATINGS], np.float32),
    }


def _speech(row: Mapping[str, Any], frames: int) -> np.ndarray:
    """Returns whether each frame has speech: int8 [T]. Where only a second voice may speak, it is unknown."""
    if row["speech"] is None:
        return np.full(frames, UNKNOWN, np.int8)
    labels = np.full(frames, NO, np.int8)
    for distortion in row["distortions"] or ():
        if distortion["cause"] == SECOND_VOICE:
            labels[touched_frames(distortion["start_s"], distortion["end_s"], frames)] = UNKNOWN
    for span in row["speech"]:
        labels[touched_frames(span["start_s"], span["end_s"], frames)] = YES
    return labels


def _causes(distortions: Iterable[Mapping[str, Any]] | None, frames: int) -> np.ndarray:
    """Returns whether each frame has each cause: int8 [T, 9]. Of several distortions, an audible one decides."""
    labels = np.full((frames, len(HEARD_CAUSES)), UNKNOWN if distortions is None else NO, np.int8)
    for distortion in sorted(distortions or (), key=lambda one: one["audible"] is True):
        if distortion["cause"] not in (None, *HEARD_CAUSES):
            raise ValueError(f"the cause {distortion['cause']!r} is not one of {', '.join(HEARD_CAUSES)}")
        if distortion["cause"] is not None and distortion["audible"] is not False:
            value = YES if distortion["audible"] else UNKNOWN
            labels[
                touched_frames(distortion["start_s"], distortion["end_s"], frames),
                HEARD_CAUSES.index(distortion["cause"]),
            ] = value
    return labels


def _level(row: Mapping[str, Any], column: str, causes: Set[str]) -> float:
    """Returns the SNR or C50 of a clip.

    It is `HIGHEST_DB` without noise or room, and NaN without speech or if it is unknown: processing may have changed it.

    Args:
        row: clip of a training set.
        column: column of the SNR or of the C50.
        causes: causes that lower it.
    """
    if not row["speech"] or row["distortions"] is None:
        return float("nan")
    if row[column] is not None:
        return float(min(row[column], HIGHEST_DB))
    is_lowered = any(one["cause"] in causes and one["audible"] is not False for one in row["distortions"])
    return float("nan") if is_lowered else HIGHEST_DB
