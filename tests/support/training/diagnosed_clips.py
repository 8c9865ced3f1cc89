"""Diagnosed clips with chosen truth and probabilities, for tests of measures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model.diagnosis import FRAME_VALUES, CauseLimits, Diagnosis
from model.evaluation.diagnosed_clips import DiagnosedClip, diagnosed_clip
from model.evaluation.scored_clips import Clip
from model.frame_truth import Distortion
from tests.support.training.scored_clips import clip

# 4 s.
NUM_FRAMES = 249
DURATION_S = 4.0


def distortion(
    cause: str | None, start_s: float = 0.0, end_s: float = DURATION_S, audible: bool | None = True
) -> Distortion:
    """A distortion of a cause, over all of the clip by default."""
    return Distortion(cause or "dc_offset", "recording, 10.0 dB", start_s, end_s, cause, audible)


def speech(number: int, *causes: str, **facts) -> Clip:
    """A clip of speech throughout that has some causes throughout."""
    defaults = {
        "speech": ((0.0, DURATION_S),),
        "names_causes": True,
        "snr_db": None,
        "distortions": tuple(map(distortion, causes)),
    }
    return clip(number, **{**defaults, **facts})


def diagnosis(values: Mapping[str, float | np.ndarray], num_frames: int = NUM_FRAMES) -> Diagnosis:
    """Values of the frames by name: one for all frames, or one for each; by default speech and nothing else."""
    defaults = {"speech": 1.0, "snr_db": 20.0, "c50_db": 30.0, "mos_sig": 4.0, "mos_bak": 4.0, "mos_ovrl": 4.0}
    filled = [np.broadcast_to({**defaults, **values}.get(name, 0.0), num_frames) for name in FRAME_VALUES]
    return Diagnosis(np.stack(filled, axis=1).astype(np.float32), CauseLimits.default())


def diagnosed(source: Clip, counted: np.ndarray | None = None, **values: float | np.ndarray) -> DiagnosedClip:
    """A clip in which a model hears the given values."""
    frame_score = np.full(NUM_FRAMES, 3.0, np.float32)
    counted = np.ones(NUM_FRAMES, bool) if counted is None else counted
    return diagnosed_clip(source, diagnosis(values), frame_score, counted, 4.64)
