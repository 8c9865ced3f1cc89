"""The scales of labels and scores."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class LabelScale:
    """A scale of quality on which higher is better.

    Attributes:
        name: name in options and metadata.
        low: worst score.
        high: best score.
        anchor: label at which the frame term of the weighted loss has weight 1 (`losses.frame_weight`).
        title: name for figures and reports.
    """

    name: str
    low: float
    high: float
    anchor: float
    title: str

    @property
    def column(self) -> str:
        """Column of the label in a training set."""
        return self.name.replace("-", "_")

    @property
    def short_title(self) -> str:
        """Name for the axis of a figure."""
        return self.title.split()[0]

    @property
    def span(self) -> float:
        """Distance from the worst to the best score."""
        return self.high - self.low


# The published loss has the weight 10^(PESQ - 4.5), which is about 1 for a perfect recording. The anchor of the pseudo-score
# is its best score for the same reason.
PESQ_WB = LabelScale("pesq-wb", 1.0, 4.64, 4.5, "PESQ MOS-LQO, wide band (ITU-T P.862.2)")
PESQ_NB = LabelScale("pesq-nb", 1.0, 4.55, 4.5, "PESQ MOS-LQO, narrow band (ITU-T P.862.1)")
PSEUDO = LabelScale("pseudo", 1.0, 8.0, 8.0, "pseudo-score of the mixing SNR")

LABEL_SCALES = {scale.name: scale for scale in (PESQ_WB, PESQ_NB, PSEUDO)}


def pseudo_score(snr_db: float | None) -> float:
    """Returns the pseudo-score of an SNR: 1 at -10 dB, 2 at -5, 4 at 5, 5 at 10, 7 at 20, and 8 for clean speech.

    All published points lie on the line (snr + 15) / 5, so the line gives the values between them. The result is limited to
    the scale.

    Args:
        snr_db: SNR in dB; None for clean speech.
    """
    if snr_db is None:
        return PSEUDO.high
    return float(np.clip((snr_db + 15.0) / 5.0, PSEUDO.low, PSEUDO.high))
