"""How the scores of frames become the score of their utterance."""

from __future__ import annotations

import numpy as np


def pool(frame_score: np.ndarray) -> float:
    """Score of an utterance from its frame scores [T]: their mean, as in the published networks."""
    return float(np.mean(frame_score, dtype=np.float64))
