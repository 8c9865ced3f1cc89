"""The scales that a score can stand on."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class LabelScale:
    """A scale of quality, higher is better.

    Attributes:
        name: as options and metadata spell it.
        low: worst score on the scale.
        high: best score on the scale.
        anchor: label at which the frame term of the weighted loss has weight 1 (`losses.frame_weight`).
        title: for people.
    """

    name: str
    low: float
    high: float
    anchor: float
    title: str

    @property
    def column(self) -> str:
        """Name of the label's column in a training set."""
        return self.name.replace("-", "_")

    @property
    def span(self) -> float:
        """Distance from the worst to the best score."""
        return self.high - self.low


# The published loss is weighted by 10^(PESQ - 4.5): full weight for a perfect recording. The pseudo-score's anchor
# is its own best score, for the same reason.
PESQ_WB = LabelScale("pesq-wb", 1.0, 4.64, 4.5, "PESQ MOS-LQO, wide band (ITU-T P.862.2)")
PESQ_NB = LabelScale("pesq-nb", 1.0, 4.55, 4.5, "PESQ MOS-LQO, narrow band (ITU-T P.862.1)")
PSEUDO = LabelScale("pseudo", 1.0, 8.0, 8.0, "pseudo-score of the mixing SNR")

LABEL_SCALES = {scale.name: scale for scale in (PESQ_WB, PESQ_NB, PSEUDO)}


def pseudo_score(snr_db: float | None) -> float:
    """The SNR pseudo-score: -10 dB: 1, -5: 2, 5: 4, 10: 5, 20: 7, clean: 8.

    The published points all lie on (snr + 15) / 5, which serves for the SNRs between them; beyond the scale's ends
    it is held at them.

    Args:
        snr_db: mixing SNR in dB; None for clean speech.
    """
    if snr_db is None:
        return PSEUDO.high
    return float(np.clip((snr_db + 15.0) / 5.0, PSEUDO.low, PSEUDO.high))
