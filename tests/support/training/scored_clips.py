"""Scored clips with few facts of their own, for tests of measures."""

from __future__ import annotations

import numpy as np

from model.evaluation.bootstrap import Resamples
from model.evaluation.localisation import Localised
from model.evaluation.scored_clips import Clip, ScoredClips, Threshold
from model.frame_truth import Distortion
from model.labels import PESQ_WB


def clip(number: int, **facts) -> Clip:
    """A noisy clip."""
    defaults = {
        "set_name": "set",
        "clip_id": f"1-{number:08d}",
        "split": "val",
        "duration_s": 4.0,
        "labels": {"pesq_wb": 2.0},
        "snr_db": 5.0,
        "distortions": (Distortion("noise", "", 0.0, 4.0),),
        "variation": (),
        "speech_id": f"{number}",
        "speaker": f"speaker{number % 5}",
        "corpus": "a",
        "noise_groups": ("rain",),
    }
    return Clip(**{**defaults, **facts})


def clean_clip(number: int, **facts) -> Clip:
    """A clip without noise or faults."""
    return clip(number, **{"snr_db": None, "distortions": (), "noise_groups": (), **facts})


def quiet(num_frames: int = 249) -> Localised:
    """A clip without bad frames and without anomalies."""
    nothing = np.zeros(num_frames, bool)
    return Localised(np.full(num_frames, 4.0, np.float32), nothing, nothing, 0)


def scored(clips: list[Clip], score: list[float], threshold: float | None = 3.0, **facts) -> ScoredClips:
    """Clips with scores by one model."""
    defaults = {
        "clips": clips,
        "score": np.array(score, float),
        "localised": [quiet() for _ in clips],
        "label": np.array([clip.labels["pesq_wb"] for clip in clips], float),
        "label_scale": PESQ_WB,
        "scale": PESQ_WB,
        "threshold": None if threshold is None else Threshold(threshold, 1.0),
    }
    return ScoredClips(**{**defaults, **facts})


def resamples_of(clips: list[Clip], count: int = 50) -> Resamples:
    """Resamples of the speakers of the clips."""
    return Resamples([clip.resampled_with for clip in clips], count, seed=0)
