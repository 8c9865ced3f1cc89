"""Labels of a clip for a network that gives a diagnosis. Unknown labels are NaN, or `UNKNOWN` for those of yes or no."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import tensorflow as tf

from model.diagnosis import HEARD_CAUSES, HIGHEST_DB, RATINGS
from model.features import SAMPLE_RATE, num_frames
from model.frame_truth import SECOND_VOICE, Distortion, true_causes, true_speech
from model.pooling import true_frame_scores

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
    "levels_db": tf.TensorSpec([len(HIGHEST_DB)], tf.float32),
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
    distortions = _distortions(row)
    speech = None if row["speech"] is None else [(span["start_s"], span["end_s"]) for span in row["speech"]]
    true_score, frame_score = np.nan, np.zeros(frames, np.float32)
    if score is not None and row["disturbance"] is not None:
        true_score = score
        frame_score = true_frame_scores(np.array(row["disturbance"]), np.array(row["asymmetric_disturbance"]), score)
    return {
        "score": np.array(true_score, np.float32),
        "frame_score": frame_score,
        "speech": true_speech(speech, distortions or (), frames),
        "causes": true_causes(distortions, frames),
        "levels_db": np.array(list(_levels_db(row).values()), np.float32),
        "ratings": np.array([np.nan if row[name] is None else row[name] for name in RATINGS], np.float32),
    }


def trained_values(row: Mapping[str, Any]) -> set[str]:
    """Returns the values of a diagnosis that a clip is an example of, as names of `diagnosis.FRAME_VALUES`.

    It is one of speech if it has speech, of a cause if it has an audible one, of SNR and C50 if they are under `HIGHEST_DB`,
    and of its ratings. From clips without a cause alone, a network does not learn to hear it; from levels that are only
    known to be high, it does not learn to measure them.

    Args:
        row: clip of a training set, with `COLUMNS`.
    """
    return {
        *({"speech"} if row["speech"] else ()),
        *(one["cause"] for one in row["distortions"] or () if one["cause"] in HEARD_CAUSES and one["audible"]),
        *(name for name, value_db in _levels_db(row).items() if value_db < HIGHEST_DB[name]),
        *(name for name in RATINGS if row[name] is not None),
    }


def _distortions(row: Mapping[str, Any]) -> list[Distortion] | None:
    if row["distortions"] is None:
        return None
    distortions = [Distortion(**one) for one in row["distortions"]]
    for one in distortions:
        if one.cause not in (None, *HEARD_CAUSES):
            raise ValueError(f"the cause {one.cause!r} is not one of {', '.join(HEARD_CAUSES)}")
    return distortions


def _levels_db(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns SNR and C50 of a clip, by name of the value of the diagnosis."""
    return {
        "snr_db": _level(row, "speech_snr_db", HIGHEST_DB["snr_db"], SOUNDS),
        "c50_db": _level(row, "c50_db", HIGHEST_DB["c50_db"], ROOMS),
    }


def _level(row: Mapping[str, Any], column: str, highest_db: float, causes: Set[str]) -> float:
    """Returns the SNR or C50 of a clip.

    It is `highest_db` without noise or room, and NaN without speech or if it is unknown: processing may have changed it.

    Args:
        row: clip of a training set.
        column: column of the SNR or of the C50.
        highest_db: value that stands for all higher ones, in dB.
        causes: causes that lower it.
    """
    if not row["speech"] or row["distortions"] is None:
        return float("nan")
    if row[column] is not None:
        return float(min(row[column], highest_db))
    is_lowered = any(one["cause"] in causes and one["audible"] is not False for one in row["distortions"])
    return float("nan") if is_lowered else highest_db
