"""The outputs of a network for the frames of a recording."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from model.diagnosis import Diagnosis


@dataclasses.dataclass(frozen=True, eq=False)
class FrameEstimates:
    """The outputs of a network for the frames of a recording.

    Attributes:
        score: frame scores, within the label scale: float32 [T].
        diagnosis: the other values of each frame; None if the network gives none.
    """

    score: np.ndarray
    diagnosis: Diagnosis | None

    @staticmethod
    def joined(parts: Sequence[FrameEstimates]) -> FrameEstimates:
        """Returns the estimates of consecutive parts of a recording as one.

        Args:
            parts: estimates of the parts, at least one, all from the same network.
        """
        diagnoses = [part.diagnosis for part in parts if part.diagnosis is not None]
        diagnosis = None
        if diagnoses:
            diagnosis = dataclasses.replace(diagnoses[0], values=np.concatenate([one.values for one in diagnoses]))
        return FrameEstimates(np.concatenate([part.score for part in parts]), diagnosis)
